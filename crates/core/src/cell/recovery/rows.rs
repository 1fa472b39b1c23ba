//! What is stored of a recovery: for good, as hosts may come back late.

use serde::{Deserialize, Serialize};

use crate::goal::StoreId;

/// That a store comes after others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The stores that it succeeds.
    pub succeeds: Vec<StoreId>,
    /// Whether hosts of stores that are not named are asked too, and name them, until it is done.
    pub open: bool,
    /// So many hosts are to show what they keep; `None`: those that are known.
    pub hosts: Option<u32>,
    /// Whether it goes on as any other.
    pub done: bool,
}
