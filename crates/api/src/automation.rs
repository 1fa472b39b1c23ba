//! How far automation goes: bodies of orders, and the client's methods.

use evenkeel_core::automation::Pinned;
use evenkeel_core::order::Accepted;
use evenkeel_core::remedy::Level;
use evenkeel_core::time::Span;
use evenkeel_core::view;
use serde::{Deserialize, Serialize};

use crate::client::{Client, path};
use crate::error::Error;

/// The body of an order for a remedy's level.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelOrder {
    /// Which; none: as the remedy's file says.
    pub level: Option<Level>,
    /// For this service only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// For services of this kind only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// The body of an order for a pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinOrder {
    /// How far automation may go; none ends the pin.
    pub level: Option<Pinned>,
    /// For how long, in milliseconds.
    #[serde(default)]
    pub for_ms: Span,
    /// Why, for the journal.
    #[serde(default)]
    pub reason: String,
}

/// The body of an order for the fleet brake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrakeOrder {
    /// On or off.
    pub on: bool,
    /// Why, for the journal.
    #[serde(default)]
    pub reason: String,
}

impl Client {
    /// Every remedy.
    ///
    /// # Errors
    /// [`Error`].
    pub fn remedies(&self) -> Result<Vec<view::Remedy>, Error> {
        self.get("/v1/remedies")
    }

    /// Sets a remedy's level.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn set_level(&self, remedy: &str, order: &LevelOrder) -> Result<Accepted, Error> {
        self.post(&path("/v1/remedies", remedy, "/level"), order)
    }

    /// Pins a service, or ends its pin.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn pin(&self, service: &str, order: &PinOrder) -> Result<Accepted, Error> {
        self.post(&path("/v1/services", service, "/pin"), order)
    }

    /// What waits for a person's yes.
    ///
    /// # Errors
    /// [`Error`].
    pub fn approvals(&self) -> Result<Vec<view::Approval>, Error> {
        self.get("/v1/approvals")
    }

    /// Lets a remedy run that waits for a person's yes.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn approve(&self, id: u32) -> Result<Accepted, Error> {
        self.order(&format!("/v1/approvals/{id}/approve"))
    }

    /// Puts the fleet brake on or off.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn brake(&self, order: &BrakeOrder) -> Result<Accepted, Error> {
        self.post("/v1/brake", order)
    }
}
