//! The way to the database, on which every statement is counted.
//!
//! The store has its connections from here and has no others: a statement that nobody counts
//! cannot be written.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_core::Stream;
use sqlx::{
    Any, AnyConnection, AnyPool, Either, Execute, Executor, SqlStr,
    any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
};

/// How many statements were sent; clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct Statements(Arc<AtomicU64>);

impl Statements {
    pub(super) fn sent(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn count(&self, statements: u64) {
        self.0.fetch_add(statements, Ordering::Relaxed);
    }
}

/// Connections to the database; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    pool: AnyPool,
    begin: &'static str,
    statements: Statements,
}

impl Connections {
    /// Whose transactions start by the statement `begin`.
    pub(super) const fn new(pool: AnyPool, begin: &'static str, statements: Statements) -> Self {
        Self {
            pool,
            begin,
            statements,
        }
    }

    /// For one statement, on any of the connections.
    pub(super) const fn any(&self) -> Counted<'_, &AnyPool> {
        Counted {
            executor: &self.pool,
            statements: &self.statements,
        }
    }

    /// Begins a transaction that writes. Dropped, it is rolled back.
    pub(super) async fn begin(&self) -> sqlx::Result<Transaction> {
        let transaction = self.pool.begin_with(self.begin).await?;
        // The one that began it, and the one that will end it in one way or the other.
        self.statements.count(2);
        Ok(Transaction {
            transaction,
            statements: self.statements.clone(),
        })
    }

    /// Closes all connections, once they are free.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A transaction that writes.
#[derive(Debug)]
pub(super) struct Transaction {
    transaction: sqlx::Transaction<'static, Any>,
    statements: Statements,
}

impl Transaction {
    /// For one statement of the transaction.
    pub(super) fn then(&mut self) -> Counted<'_, &mut AnyConnection> {
        Counted {
            executor: &mut self.transaction,
            statements: &self.statements,
        }
    }

    pub(super) async fn commit(self) -> sqlx::Result<()> {
        self.transaction.commit().await
    }

    pub(super) async fn rollback(self) -> sqlx::Result<()> {
        self.transaction.rollback().await
    }
}

/// Runs a statement, and counts it. A script is one.
#[derive(Debug)]
pub(super) struct Counted<'a, E> {
    executor: E,
    statements: &'a Statements,
}

/// All other methods of the trait come to one of these.
impl<'c, X> Executor<'c> for Counted<'_, X>
where
    X: Executor<'c, Database = Any>,
{
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> Pin<Box<dyn Stream<Item = sqlx::Result<Either<AnyQueryResult, AnyRow>>> + Send + 'e>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        self.statements.count(1);
        self.executor.fetch_many(query)
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> Answer<'e, Option<AnyRow>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        self.statements.count(1);
        self.executor.fetch_optional(query)
    }

    /// Sends nothing to be run.
    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> Answer<'e, AnyStatement>
    where
        'c: 'e,
    {
        self.executor.prepare_with(sql, parameters)
    }
}

type Answer<'e, T> = Pin<Box<dyn Future<Output = sqlx::Result<T>> + Send + 'e>>;
