//! The client's methods for planned work, drills and the toil ledger.

use evenkeel_core::order::Accepted;
use evenkeel_core::{drill, maintenance, toil};

use crate::client::{Client, path};
use crate::error::Error;
use crate::{DrillBegin, DrillSchedule, PlanOrder, WindowOrder};

impl Client {
    /// Everything that is planned.
    ///
    /// # Errors
    /// [`Error`].
    pub fn planned(&self) -> Result<Vec<maintenance::Item>, Error> {
        self.get("/v1/maintenance")
    }

    /// A service's windows and planned work.
    ///
    /// # Errors
    /// [`Error`].
    pub fn maintenance(&self, name: &str) -> Result<maintenance::Page, Error> {
        self.get(&path("/v1/services", name, "/maintenance"))
    }

    /// Sets when planned work may be done.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn set_window(&self, name: &str, order: &WindowOrder) -> Result<Accepted, Error> {
        self.post(&path("/v1/services", name, "/maintenance/window"), order)
    }

    /// Plans work for a service's next window.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn plan(&self, name: &str, order: &PlanOrder) -> Result<Accepted, Error> {
        self.post(&path("/v1/services", name, "/maintenance"), order)
    }

    /// Has planned work wait for its window no longer.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn run_now(&self, id: u32) -> Result<Accepted, Error> {
        self.order(&path("/v1/maintenance", &id.to_string(), "/run-now"))
    }

    /// Has planned work not be done.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn cancel(&self, id: u32) -> Result<Accepted, Error> {
        self.order(&path("/v1/maintenance", &id.to_string(), "/cancel"))
    }

    /// The drills of every service that has or had any.
    ///
    /// # Errors
    /// [`Error`].
    pub fn all_drills(&self) -> Result<Vec<drill::Page>, Error> {
        self.get("/v1/drills")
    }

    /// A service's drills.
    ///
    /// # Errors
    /// [`Error`].
    pub fn drills(&self, name: &str) -> Result<drill::Page, Error> {
        self.get(&path("/v1/services", name, "/drills"))
    }

    /// Has a service be drilled by itself, or not any more.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn schedule_drill(&self, name: &str, order: &DrillSchedule) -> Result<Accepted, Error> {
        self.post(&path("/v1/services", name, "/drills/schedule"), order)
    }

    /// Begins a drill that the caller does, and reports with [`Client::drilled`].
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn begin_drill(&self, name: &str, kind: &str) -> Result<Accepted, Error> {
        let body = DrillBegin { kind: kind.to_owned() };
        self.post(&path("/v1/services", name, "/drills/begin"), &body)
    }

    /// Has the controller be lost, while a drill of that runs on a service: it ends without goodbye and
    /// begins anew. The connection ends with it.
    ///
    /// # Errors
    /// Always: the controller's where it could not, the connection's where it did.
    pub fn lose_controller(&self, name: &str) -> Result<Accepted, Error> {
        self.order(&path("/v1/services", name, "/drills/lose"))
    }

    /// Has the drill that runs end as soon as it can.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn abort_drill(&self, name: &str) -> Result<Accepted, Error> {
        self.order(&path("/v1/services", name, "/drills/abort"))
    }

    /// What the fleet did by itself, and what people still do by hand.
    ///
    /// # Errors
    /// [`Error`].
    pub fn toil(&self) -> Result<toil::Page, Error> {
        self.get("/v1/toil")
    }
}
