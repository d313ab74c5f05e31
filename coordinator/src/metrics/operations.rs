//! How long operations of one kind take, and how many fail.

use std::future::Future;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::time::Instant;

use super::SHORT;

/// Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Operations {
    took: Family<Operation, Histogram, fn() -> Histogram>,
    failed: Family<Operation, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

impl Default for Operations {
    fn default() -> Self {
        Self { took: Family::new_with_constructor(|| Histogram::new(SHORT)), failed: Family::default() }
    }
}

impl Operations {
    /// As `WHAT_operation_seconds` and `WHAT_operation_errors_total`.
    pub(crate) fn register(&self, what: &str, of: &str, registry: &mut Registry) {
        let name = format!("{what}_operation");
        registry.register_with_unit(
            name.as_str(),
            format!("What an operation of {of} took, failed ones included"),
            Unit::Seconds,
            self.took.clone(),
        );
        registry.register(
            format!("{name}_errors"),
            format!("Operations of {of} that failed"),
            self.failed.clone(),
        );
    }

    /// One that is dropped before it has ended is not counted.
    pub(crate) async fn time<T, E>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let result = work.await;
        let operation = Operation { operation };
        self.took.get_or_create(&operation).observe(began.elapsed().as_secs_f64());
        if result.is_err() {
            self.failed.get_or_create(&operation).inc();
        }
        result
    }
}
