//! The client's methods about procedures and acts.

use evenkeel_core::act::Act;
use evenkeel_core::order::Accepted;

use crate::client::path;
use crate::{
    Client, Error, GlassOrder, PersonOrder, ProcedureOrder, ProcedurePage, RecordingOrder,
};

impl Client {
    /// Every procedure.
    ///
    /// # Errors
    /// [`Error`].
    pub fn procedures(&self) -> Result<Vec<ProcedurePage>, Error> {
        self.get("/v1/procedures")
    }

    /// One procedure, with its scripts.
    ///
    /// # Errors
    /// [`Error`]; code `no_such_procedure`.
    pub fn procedure(&self, name: &str) -> Result<ProcedurePage, Error> {
        self.get(&path("/v1/procedures", name, ""))
    }

    /// Runs a procedure on a service, as planned; the act's number is the answer's `job`.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn run_procedure(&self, name: &str, order: &ProcedureOrder) -> Result<Accepted, Error> {
        self.post(&path("/v1/services", name, "/procedures"), order)
    }

    /// Runs of procedures and what people did by hand, newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub fn acts(&self) -> Result<Vec<Act>, Error> {
        self.get("/v1/breakglass")
    }

    /// What was ordered by one act, and what came of it.
    ///
    /// # Errors
    /// [`Error`]; code `no_such_act`.
    pub fn act(&self, id: u32) -> Result<Act, Error> {
        self.get(&path("/v1/breakglass", &id.to_string(), ""))
    }

    /// Breaks the glass; the act's number is the answer's `job`.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn break_glass(&self, order: &GlassOrder) -> Result<Accepted, Error> {
        self.post("/v1/breakglass", order)
    }

    /// Agrees to an act, as a second person.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn approve_act(&self, id: u32, person: &str) -> Result<Accepted, Error> {
        let body = PersonOrder { person: person.to_owned() };
        self.post(&path("/v1/breakglass", &id.to_string(), "/approve"), &body)
    }

    /// Ends an act before its time.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn end_act(&self, id: u32, person: &str) -> Result<Accepted, Error> {
        let body = PersonOrder { person: person.to_owned() };
        self.post(&path("/v1/breakglass", &id.to_string(), "/end"), &body)
    }

    /// Has what was typed and shown in a shell kept.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn record(&self, id: u32, recording: &RecordingOrder) -> Result<Accepted, Error> {
        self.post(&path("/v1/breakglass", &id.to_string(), "/recording"), recording)
    }
}
