//! One statement with its values, prepared once a connection.

use super::columns::Cols;
use super::{Result, StoreError};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// A statement and the values of its parameters, in their order.
pub(super) struct Query {
    text: &'static str,
    values: Vec<Value>,
}

pub(super) fn query(text: &'static str) -> Query {
    Query { text, values: Vec::new() }
}

pub(super) fn sql(error: rusqlite::Error) -> StoreError {
    StoreError::Sql(error)
}

impl Query {
    pub(super) fn bind(mut self, value: impl Bind) -> Self {
        self.values.push(value.value());
        self
    }

    /// Runs it; the number of rows that changed.
    pub(super) fn run(self, db: &Connection) -> Result<usize> {
        db.prepare_cached(self.text).and_then(|mut s| s.execute(params_from_iter(self.values))).map_err(sql)
    }

    /// Whether exactly one row changed.
    pub(super) fn one(self, db: &Connection) -> Result<bool> {
        Ok(self.run(db)? == 1)
    }

    /// All rows.
    pub(super) fn all<T>(self, db: &Connection, read: impl Fn(&Cols<'_, '_>) -> Result<T>) -> Result<Vec<T>> {
        let mut statement = db.prepare_cached(self.text).map_err(sql)?;
        let mut rows = statement.query(params_from_iter(self.values)).map_err(sql)?;
        let mut out = Vec::new();
        while let Some(row) = rows.next().map_err(sql)? {
            out.push(read(&Cols::new(row))?);
        }
        Ok(out)
    }

    /// The first row.
    pub(super) fn first<T>(
        self,
        db: &Connection,
        read: impl Fn(&Cols<'_, '_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = db.prepare_cached(self.text).map_err(sql)?;
        let mut rows = statement.query(params_from_iter(self.values)).map_err(sql)?;
        rows.next().map_err(sql)?.map(|row| read(&Cols::new(row))).transpose()
    }
}

/// What a parameter can be.
pub(super) trait Bind {
    fn value(self) -> Value;
}

impl Bind for String {
    fn value(self) -> Value {
        Value::Text(self)
    }
}

impl Bind for &String {
    fn value(self) -> Value {
        Value::Text(self.clone())
    }
}

impl Bind for &str {
    fn value(self) -> Value {
        Value::Text(self.to_owned())
    }
}

impl Bind for Vec<u8> {
    fn value(self) -> Value {
        Value::Blob(self)
    }
}

impl Bind for &[u8] {
    fn value(self) -> Value {
        Value::Blob(self.to_vec())
    }
}

impl Bind for &Vec<u8> {
    fn value(self) -> Value {
        Value::Blob(self.clone())
    }
}

impl Bind for i64 {
    fn value(self) -> Value {
        Value::Integer(self)
    }
}

impl Bind for u32 {
    fn value(self) -> Value {
        Value::Integer(self.into())
    }
}

impl Bind for u8 {
    fn value(self) -> Value {
        Value::Integer(self.into())
    }
}

impl Bind for bool {
    fn value(self) -> Value {
        Value::Integer(self.into())
    }
}

impl<T: Bind> Bind for Option<T> {
    fn value(self) -> Value {
        self.map_or(Value::Null, Bind::value)
    }
}

impl<'a, T> Bind for &'a Option<T>
where
    &'a T: Bind,
{
    fn value(self) -> Value {
        self.as_ref().map_or(Value::Null, Bind::value)
    }
}
