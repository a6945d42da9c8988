//! A statement that was made ready: prepared by name on a connection of our own, or only described behind a pooler.
//!
//! **Invariant:** both kinds give the same parameters and columns; who runs one never asks which it is.
//!
//! **Not here:** running one ([`super::Session`]).

use std::sync::Arc;

use tokio_postgres::types::Type;

/// A statement with the types that the server inferred.
#[derive(Clone)]
pub struct Statement(pub(super) Kind);

#[derive(Clone)]
pub(super) enum Kind {
    /// Parsed and named on this session's server connection.
    Named(tokio_postgres::Statement),
    /// Its types are known; it is sent whole each time, because the next transaction may meet another server process.
    Typed(Arc<Typed>),
}

pub(super) struct Typed {
    pub(super) sql: Box<str>,
    pub(super) params: Vec<Type>,
    pub(super) columns: Vec<Column>,
}

/// A column of a statement's rows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Column {
    name: String,
    type_: Type,
}

impl Column {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    pub fn type_(&self) -> &Type {
        &self.type_
    }
}

impl From<&tokio_postgres::Column> for Column {
    fn from(column: &tokio_postgres::Column) -> Self {
        Self {
            name: column.name().to_owned(),
            type_: column.type_().clone(),
        }
    }
}

impl Statement {
    /// The types of its parameters.
    pub fn params(&self) -> &[Type] {
        match &self.0 {
            Kind::Named(statement) => statement.params(),
            Kind::Typed(typed) => &typed.params,
        }
    }

    /// The columns of its rows; none when it returns no rows.
    pub fn columns(&self) -> Vec<Column> {
        match &self.0 {
            Kind::Named(statement) => statement.columns().iter().map(Column::from).collect(),
            Kind::Typed(typed) => typed.columns.clone(),
        }
    }

    /// Whether it returns rows with something in them.
    pub(crate) fn returns_values(&self) -> bool {
        match &self.0 {
            Kind::Named(statement) => {
                let mut columns = statement.columns().iter();
                columns.any(|column| column.type_() != &Type::VOID)
            }
            Kind::Typed(typed) => {
                let mut columns = typed.columns.iter();
                columns.any(|column| column.type_ != Type::VOID)
            }
        }
    }
}

impl Typed {
    pub(super) fn of(sql: &str, statement: &tokio_postgres::Statement) -> Self {
        Self {
            sql: sql.into(),
            params: statement.params().to_vec(),
            columns: statement.columns().iter().map(Column::from).collect(),
        }
    }

    /// Whether a type is none of those that the driver knows: it asked the server for it, by statements with names.
    pub(super) fn has_foreign_types(&self) -> bool {
        let columns = self.columns.iter().map(|column| &column.type_);
        let mut types = self.params.iter().chain(columns);
        types.any(|one| Type::from_oid(one.oid()).is_none())
    }
}

/// What can be asked of a session: a statement that was made ready, or a text.
pub trait Question: Sync {
    /// Which of the two it is.
    #[doc(hidden)]
    fn asked(&self) -> Asked<'_>;
}

/// Which of the two it is.
#[doc(hidden)]
pub enum Asked<'a> {
    /// A text, made ready for this once.
    Text(&'a str),
    /// Ready.
    Ready(&'a Statement),
}

impl Question for Statement {
    fn asked(&self) -> Asked<'_> {
        Asked::Ready(self)
    }
}

impl Question for str {
    fn asked(&self) -> Asked<'_> {
        Asked::Text(self)
    }
}

impl Question for String {
    fn asked(&self) -> Asked<'_> {
        Asked::Text(self)
    }
}
