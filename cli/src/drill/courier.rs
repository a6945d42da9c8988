//! A courier of whom nobody knows what he did: for the scene `in-doubt`.

use async_trait::async_trait;
use redress::adapter::{AdapterError, Applied, Finding};
use redress::definition::Phase;
use redress::external::{ActError, ExternalAdapter, ExternalCall, Probe, WayBack};
use serde_json::Value;

/// Takes every parcel and answers nothing.
pub(super) struct Courier;

#[async_trait]
impl ExternalAdapter for Courier {
    fn name(&self) -> &str {
        "courier"
    }

    fn check(&self, _: &Phase) -> Vec<Finding> {
        Vec::new()
    }

    fn way_back(&self, _: &Phase) -> WayBack<'_> {
        WayBack::Irreversible
    }

    async fn prepare(&self, _: &ExternalCall<'_>) -> Result<Value, AdapterError> {
        Ok(Value::Null)
    }

    async fn act(&self, _: &ExternalCall<'_>) -> Result<Applied, ActError> {
        Err(ActError::unknown(
            "the courier took the parcel and does not answer",
        ))
    }

    async fn probe(&self, _: &ExternalCall<'_>) -> Probe<Applied> {
        Probe::Unknown("the courier does not answer".to_owned())
    }
}
