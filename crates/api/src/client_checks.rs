//! The client's methods about checks and what they find.

use evenkeel_core::view;

use crate::client::{path, with_query};
use crate::{CheckLine, CheckPage, Client, Error, FindingsQuery};

impl Client {
    /// Everything that is looked at.
    ///
    /// # Errors
    /// [`Error`].
    pub fn checks(&self) -> Result<Vec<CheckLine>, Error> {
        self.get("/v1/checks")
    }

    /// One check.
    ///
    /// # Errors
    /// [`Error`]; code `no_such_check`.
    pub fn check(&self, name: &str) -> Result<CheckPage, Error> {
        self.get(&path("/v1/checks", name, ""))
    }

    /// What is not as it should be, worst first.
    ///
    /// # Errors
    /// [`Error`]; code `no_such_service`.
    pub fn findings(&self, query: &FindingsQuery) -> Result<Vec<view::Finding>, Error> {
        let pairs = [
            ("service", query.service.clone()),
            ("family", query.family.map(|family| family.to_string())),
            ("severity", query.severity.map(|severity| severity.to_string())),
        ];
        self.get(&with_query("/v1/findings", pairs))
    }

    /// Every check of a service.
    ///
    /// # Errors
    /// [`Error`]; code `no_such_service`.
    pub fn diagnosis(&self, name: &str) -> Result<view::Diagnosis, Error> {
        self.get(&path("/v1/services", name, "/diagnosis"))
    }
}
