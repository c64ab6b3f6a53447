//! One statement with its values, prepared once a connection.

use super::columns::Cols;
use super::{Result, StoreError};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, params_from_iter};

/// A statement and the values of its parameters, in their order.
pub(super) struct Query<'v> {
    text: &'static str,
    values: Vec<ToSqlOutput<'v>>,
}

pub(super) fn query<'v>(text: &'static str) -> Query<'v> {
    Query { text, values: Vec::new() }
}

pub(super) fn sql(error: rusqlite::Error) -> StoreError {
    StoreError::Sql(error)
}

impl<'v> Query<'v> {
    pub(super) fn bind(mut self, value: impl Bind<'v>) -> Self {
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
pub(super) trait Bind<'v> {
    fn value(self) -> ToSqlOutput<'v>;
}

const NULL: ToSqlOutput<'static> = ToSqlOutput::Owned(Value::Null);

impl<'v> Bind<'v> for String {
    fn value(self) -> ToSqlOutput<'v> {
        ToSqlOutput::Owned(Value::Text(self))
    }
}

impl<'v> Bind<'v> for &'v String {
    fn value(self) -> ToSqlOutput<'v> {
        self.as_str().value()
    }
}

impl<'v> Bind<'v> for &'v str {
    fn value(self) -> ToSqlOutput<'v> {
        ToSqlOutput::Borrowed(ValueRef::Text(self.as_bytes()))
    }
}

impl<'v> Bind<'v> for Vec<u8> {
    fn value(self) -> ToSqlOutput<'v> {
        ToSqlOutput::Owned(Value::Blob(self))
    }
}

impl<'v> Bind<'v> for &'v [u8] {
    fn value(self) -> ToSqlOutput<'v> {
        ToSqlOutput::Borrowed(ValueRef::Blob(self))
    }
}

impl<'v> Bind<'v> for &'v Vec<u8> {
    fn value(self) -> ToSqlOutput<'v> {
        self.as_slice().value()
    }
}

impl<'v> Bind<'v> for i64 {
    fn value(self) -> ToSqlOutput<'v> {
        ToSqlOutput::Owned(Value::Integer(self))
    }
}

impl<'v> Bind<'v> for u32 {
    fn value(self) -> ToSqlOutput<'v> {
        i64::from(self).value()
    }
}

impl<'v> Bind<'v> for u8 {
    fn value(self) -> ToSqlOutput<'v> {
        i64::from(self).value()
    }
}

impl<'v> Bind<'v> for bool {
    fn value(self) -> ToSqlOutput<'v> {
        i64::from(self).value()
    }
}

impl<'v, T: Bind<'v>> Bind<'v> for Option<T> {
    fn value(self) -> ToSqlOutput<'v> {
        self.map_or(NULL, Bind::value)
    }
}

impl<'v, T> Bind<'v> for &'v Option<T>
where
    &'v T: Bind<'v>,
{
    fn value(self) -> ToSqlOutput<'v> {
        self.as_ref().map_or(NULL, Bind::value)
    }
}
