//! Columns to types and back; what does not parse is `Corrupt`, never a default.

use super::query::sql;
use super::{Result, StoreError};
use rusqlite::Row;
use rusqlite::types::FromSql;
use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;
use std::cell::Cell;

/// A value whose JSON form is a string, as that string: names, digests, enums.
pub(super) fn word<T: Serialize>(column: &'static str, value: &T) -> Result<String> {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => Ok(text),
        Ok(_) => Err(StoreError::Corrupt { column, source: serde_json::Error::custom("not a word") }),
        Err(source) => Err(StoreError::Corrupt { column, source }),
    }
}

pub(super) fn word_or_null<T: Serialize>(column: &'static str, value: &Option<T>) -> Result<Option<String>> {
    value.as_ref().map(|v| word(column, v)).transpose()
}

pub(super) fn json<T: Serialize>(column: &'static str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|source| StoreError::Corrupt { column, source })
}

pub(super) fn json_or_null<T: Serialize>(column: &'static str, value: &Option<T>) -> Result<Option<String>> {
    value.as_ref().map(|v| json(column, v)).transpose()
}

/// Numbers of SQLite are signed.
pub(super) fn number(column: &'static str, value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| StoreError::Range(column))
}

pub(super) trait Columns {
    fn text(&self, column: &'static str) -> Result<String>;
    fn text_or_null(&self, column: &'static str) -> Result<Option<String>>;
    fn bytes_or_null(&self, column: &'static str) -> Result<Option<Vec<u8>>>;
    fn signed(&self, column: &'static str) -> Result<Option<i64>>;

    fn parse<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        from_word(column, self.text(column)?)
    }

    fn parse_or_null<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>> {
        self.text_or_null(column)?.map(|text| from_word(column, text)).transpose()
    }

    fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        from_json(column, &self.text(column)?)
    }

    fn json_or_null<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>> {
        self.text_or_null(column)?.map(|text| from_json(column, &text)).transpose()
    }

    fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T> {
        self.number_or_null(column)?.ok_or(StoreError::Range(column))
    }

    fn number_or_null<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>> {
        let narrow = |n| T::try_from(n).map_err(|_| StoreError::Range(column));
        self.signed(column)?.map(narrow).transpose()
    }
}

fn from_word<T: DeserializeOwned>(column: &'static str, text: String) -> Result<T> {
    serde_json::from_value(Value::String(text)).map_err(|source| StoreError::Corrupt { column, source })
}

fn from_json<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| StoreError::Corrupt { column, source })
}

/// A row whose columns are mostly asked for in their order: finding one by name is a search else.
pub(super) struct Cols<'r, 's> {
    row: &'r Row<'s>,
    next: Cell<usize>,
}

impl<'r, 's> Cols<'r, 's> {
    pub(super) fn new(row: &'r Row<'s>) -> Self {
        Self { row, next: Cell::new(0) }
    }

    fn get<T: FromSql>(&self, column: &'static str) -> Result<T> {
        let next = self.next.get();
        let index = match self.row.as_ref().column_name(next) {
            Ok(name) if name == column => next,
            _ => self.row.as_ref().column_index(column).map_err(sql)?,
        };
        self.next.set(index.saturating_add(1));
        self.row.get(index).map_err(sql)
    }
}

impl Columns for Cols<'_, '_> {
    fn text(&self, column: &'static str) -> Result<String> {
        self.get(column)
    }

    fn text_or_null(&self, column: &'static str) -> Result<Option<String>> {
        self.get(column)
    }

    fn bytes_or_null(&self, column: &'static str) -> Result<Option<Vec<u8>>> {
        self.get(column)
    }

    fn signed(&self, column: &'static str) -> Result<Option<i64>> {
        self.get(column)
    }
}
