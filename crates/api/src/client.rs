//! A blocking client: one method for each endpoint.

use std::fmt::Write;
use std::time::Duration;

use evenkeel_core::order::Accepted;
use evenkeel_core::view;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use crate::events::Events;
use crate::{
    DoctorItem, DrillResult, Error, ErrorBody, FailoverOrder, ForkOrder, GiveUpOrder, ImportOrder,
    JournalEntry, JournalQuery, KindPage, KindSummary, NewRepository, NewService, RecoveryEnd,
    RepositoryPage, RestoreTarget, RollbackOrder, SwitchoverOrder, Termination, UrlAnswer,
};

/// Longest wait for a connection. The controller is on this machine or near it.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a whole answer. An order is answered in the turn that takes it in; a controller
/// whose disk is slow answers late, one that hangs never.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Longest silence on a stream of events; the server says something each 10 s.
const EVENTS_SILENCE_MAX: Duration = Duration::from_secs(30);
/// A connection unused for longer is not used again: the server ends it after 10 s.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// Largest answer taken: a list of 100,000 services is some 60 MB.
const ANSWER_MAX_BYTES: u64 = 512 << 20;

/// Which way to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By its stable endpoint.
    Endpoint,
    /// By its pooled endpoint.
    Pooled,
    /// To its members themselves.
    Direct,
}

/// A client of one controller.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    events: Agent,
    base: String,
    authorization: Token,
}

/// The header's value. Its debug output shows nothing.
#[derive(Clone)]
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

type Answer = Result<Response<Body>, ureq::Error>;

impl Client {
    /// A client of the controller at `base`, which is `http://HOST:PORT` or `HOST:PORT`.
    /// Nothing is sent before the first request.
    #[must_use]
    pub fn new(base: &str, token: &str) -> Self {
        let base = base.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        // A proxy named by the environment is for the world outside, never for a controller.
        let config = || {
            Agent::config_builder()
                .http_status_as_error(false)
                .proxy(None)
                .max_redirects(0)
                .max_idle_age(IDLE_MAX)
                .timeout_connect(Some(CONNECT_MAX))
        };
        Self {
            agent: config().timeout_global(Some(ANSWER_MAX)).build().into(),
            events: config()
                .timeout_recv_response(Some(ANSWER_MAX))
                .timeout_per_read(Some(EVENTS_SILENCE_MAX))
                .build()
                .into(),
            base,
            authorization: Token(format!("Bearer {token}")),
        }
    }

    /// Where the controller is looked for, as a URL without a path.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether the controller answers at all. Needs no token.
    ///
    /// # Errors
    /// [`Error`].
    pub fn healthz(&self) -> Result<(), Error> {
        self.text("/healthz").map(drop)
    }

    /// Metrics as Prometheus reads them.
    ///
    /// # Errors
    /// [`Error`].
    pub fn metrics(&self) -> Result<String, Error> {
        self.text("/metrics")
    }

    /// The OpenAPI document of the controller's release.
    ///
    /// # Errors
    /// [`Error`].
    pub fn openapi(&self) -> Result<serde_json::Value, Error> {
        self.get("/v1/openapi.json")
    }

    /// The fleet at a glance.
    ///
    /// # Errors
    /// [`Error`].
    pub fn fleet(&self) -> Result<view::Fleet, Error> {
        self.get("/v1/fleet")
    }

    /// Every service, in order of name.
    ///
    /// # Errors
    /// [`Error`].
    pub fn services(&self) -> Result<Vec<view::Service>, Error> {
        self.get("/v1/services")
    }

    /// One service.
    ///
    /// # Errors
    /// [`Error`]; code `no_such_service`.
    pub fn service(&self, name: &str) -> Result<view::Service, Error> {
        self.get(&path("/v1/services", name, ""))
    }

    /// Why a service is as it is.
    ///
    /// # Errors
    /// [`Error`]; code `no_such_service`.
    pub fn explain(&self, name: &str) -> Result<view::Explain, Error> {
        self.get(&path("/v1/services", name, "/explain"))
    }

    /// Orders a new service.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn create(&self, service: &NewService) -> Result<Accepted, Error> {
        self.post("/v1/services", service)
    }

    /// How to connect.
    ///
    /// # Errors
    /// [`Error`]; code `no_such_service`, `not_pooled`, or `no_endpoint` while there is none.
    pub fn url(&self, name: &str, way: Way) -> Result<UrlAnswer, Error> {
        let tail = match way {
            Way::Endpoint => "/url",
            Way::Pooled => "/url?pooled=true",
            Way::Direct => "/url?direct=true",
        };
        self.get(&path("/v1/services", name, tail))
    }

    /// Orders an orderly restart.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn restart(&self, name: &str) -> Result<Accepted, Error> {
        self.order(&path("/v1/services", name, "/restart"))
    }

    /// Orders that another member takes the primary's place, as if it were lost.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn failover(&self, name: &str, reason: &str) -> Result<Accepted, Error> {
        let body = FailoverOrder { reason: reason.to_owned() };
        self.post(&path("/v1/services", name, "/failover"), &body)
    }

    /// Keeps what a drill came to.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn drilled(&self, name: &str, result: &DrillResult) -> Result<Accepted, Error> {
        self.post(&path("/v1/services", name, "/drills"), result)
    }

    /// Orders that another member takes the primary's place, in order: the one named, or any.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn switchover(&self, name: &str, to: Option<&str>) -> Result<Accepted, Error> {
        let body = SwitchoverOrder { to: to.map(str::to_owned) };
        self.post(&path("/v1/services", name, "/switchover"), &body)
    }

    /// A service's backups, newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub fn backups(&self, name: &str) -> Result<Vec<view::BackupRow>, Error> {
        self.get(&path("/v1/services", name, "/backups"))
    }

    /// One backup.
    ///
    /// # Errors
    /// [`Error`].
    pub fn backup(&self, id: &str) -> Result<view::BackupRow, Error> {
        self.get(&path("/v1/backups", id, ""))
    }

    /// Orders a backup; the answer has its number.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn take_backup(&self, name: &str) -> Result<Accepted, Error> {
        self.order(&path("/v1/services", name, "/backups"))
    }

    /// Orders a proof of a service's newest backup.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn prove(&self, name: &str) -> Result<Accepted, Error> {
        self.order(&path("/v1/services", name, "/proofs"))
    }

    /// Orders that a service gives up the log that no repository took yet, and is backed up anew.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn give_up_log(&self, name: &str, order: &GiveUpOrder) -> Result<Accepted, Error> {
        self.post(&path("/v1/services", name, "/give-up-log"), order)
    }

    /// Orders a new service from another's archive.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn fork(&self, name: &str, order: &ForkOrder) -> Result<Accepted, Error> {
        self.post(&path("/v1/services", name, "/fork"), order)
    }

    /// Orders a new service from a foreign server.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn import(&self, order: &ImportOrder) -> Result<Accepted, Error> {
        self.post("/v1/imports", order)
    }

    /// Orders a service to be put back.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn rollback(&self, name: &str, target: RestoreTarget) -> Result<Accepted, Error> {
        self.post(&path("/v1/services", name, "/rollback"), &RollbackOrder { target })
    }

    /// Where archives go.
    ///
    /// # Errors
    /// [`Error`].
    pub fn repositories(&self) -> Result<Vec<RepositoryPage>, Error> {
        self.get("/v1/repositories")
    }

    /// Orders that no archive goes to a repository any more, nor comes from there.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn remove_repository(&self, name: &str, confirm: &str) -> Result<Accepted, Error> {
        let body = Termination { confirm: confirm.to_owned() };
        self.post(&path("/v1/repositories", name, "/remove"), &body)
    }

    /// Orders that archives go to one repository more.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn add_repository(&self, new: &NewRepository) -> Result<Accepted, Error> {
        self.post("/v1/repositories", new)
    }

    /// Orders a recovered control plane to go on with the hosts that have shown what they keep.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn end_recovery(&self, hosts: u32) -> Result<Accepted, Error> {
        self.post("/v1/recovery", &RecoveryEnd { hosts })
    }

    /// Orders a service to be stopped, its disks kept.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn retire(&self, name: &str) -> Result<Accepted, Error> {
        self.order(&path("/v1/services", name, "/retire"))
    }

    /// Orders a retired service to serve again.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn revive(&self, name: &str) -> Result<Accepted, Error> {
        self.order(&path("/v1/services", name, "/revive"))
    }

    /// Orders that only a retired service's archive is kept.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn archive(&self, name: &str) -> Result<Accepted, Error> {
        self.order(&path("/v1/services", name, "/archive"))
    }

    /// Orders a service to be removed for ever; `confirm` is its name again.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn terminate(&self, name: &str, confirm: &str) -> Result<Accepted, Error> {
        let body = Termination { confirm: confirm.to_owned() };
        self.post(&path("/v1/services", name, "/terminate"), &body)
    }

    /// Every host.
    ///
    /// # Errors
    /// [`Error`].
    pub fn hosts(&self) -> Result<Vec<view::Host>, Error> {
        self.get("/v1/hosts")
    }

    /// One host.
    ///
    /// # Errors
    /// [`Error`]; code `no_such_host`.
    pub fn host(&self, name: &str) -> Result<view::Host, Error> {
        self.get(&path("/v1/hosts", name, ""))
    }

    /// Orders that nothing is placed on a host any more and that it is emptied.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn drain(&self, host: &str) -> Result<Accepted, Error> {
        self.order(&path("/v1/hosts", host, "/drain"))
    }

    /// Takes a drained host back.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn return_host(&self, host: &str) -> Result<Accepted, Error> {
        self.order(&path("/v1/hosts", host, "/return"))
    }

    /// Forgets an empty host.
    ///
    /// # Errors
    /// [`Error`]; the codes of [`evenkeel_core::order::Error`].
    pub fn remove_host(&self, host: &str) -> Result<Accepted, Error> {
        let path = path("/v1/hosts", host, "");
        let request = self.agent.delete(self.address_of(&path));
        let answer = request.header("Authorization", &self.authorization.0).call();
        self.read(answer, "DELETE", &path)
    }

    /// Every kind.
    ///
    /// # Errors
    /// [`Error`].
    pub fn kinds(&self) -> Result<Vec<KindSummary>, Error> {
        self.get("/v1/kinds")
    }

    /// One kind, with its machines.
    ///
    /// # Errors
    /// [`Error`]; code `no_such_kind`.
    pub fn kind(&self, name: &str) -> Result<KindPage, Error> {
        self.get(&path("/v1/kinds", name, ""))
    }

    /// Entries of the journal, oldest first.
    ///
    /// # Errors
    /// [`Error`].
    pub fn journal(&self, query: &JournalQuery) -> Result<Vec<JournalEntry>, Error> {
        let pairs = [
            ("subject", query.subject.clone()),
            ("after", query.after.map(|n| n.to_string())),
            ("limit", query.limit.map(|n| n.to_string())),
        ];
        self.get(&with_query("/v1/journal", pairs))
    }

    /// Entries of the journal as they are recorded, from after a position on; from now on if `None`.
    /// The iterator ends with the first error; [`Events::position`] says where to go on.
    ///
    /// # Errors
    /// [`Error`], when the stream cannot be opened.
    pub fn events(&self, after: Option<u64>) -> Result<Events, Error> {
        // From now on is from a position on too: so a stream that breaks at once goes on as well.
        let after = match after {
            Some(after) => after,
            None => self.newest()?,
        };
        let path = format!("/v1/events?after={after}");
        let request = self.events.get(self.address_of(&path));
        let answer = request.header("Authorization", &self.authorization.0).call();
        let body = self.accept(answer, "GET", &path)?.into_body();
        Ok(Events::new(self.base.clone(), after, body))
    }

    /// Position of the journal's newest entry; 0 where there is none.
    fn newest(&self) -> Result<u64, Error> {
        let query = JournalQuery { limit: Some(1), ..JournalQuery::default() };
        Ok(self.journal(&query)?.last().map_or(0, |entry| entry.position))
    }

    /// What is looked at to say whether the control plane is well.
    ///
    /// # Errors
    /// [`Error`].
    pub fn doctor(&self) -> Result<Vec<DoctorItem>, Error> {
        self.get("/v1/doctor")
    }

    /// The same, with the whole store and journal, also what was found sound before.
    ///
    /// # Errors
    /// [`Error`].
    pub fn doctor_deep(&self) -> Result<Vec<DoctorItem>, Error> {
        self.get("/v1/doctor?deep=true")
    }

    fn address_of(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let request = self.agent.get(self.address_of(path));
        let answer = request.header("Authorization", &self.authorization.0).call();
        self.read(answer, "GET", path)
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let request = self.agent.post(self.address_of(path));
        let answer = request.header("Authorization", &self.authorization.0).send_json(body);
        self.read(answer, "POST", path)
    }

    pub(crate) fn order(&self, path: &str) -> Result<Accepted, Error> {
        let request = self.agent.post(self.address_of(path));
        let answer = request.header("Authorization", &self.authorization.0).send_empty();
        self.read(answer, "POST", path)
    }

    fn text(&self, path: &str) -> Result<String, Error> {
        let request = self.agent.get(self.address_of(path));
        let answer = request.header("Authorization", &self.authorization.0).call();
        let mut answer = self.accept(answer, "GET", path)?;
        answer.body_mut().read_to_string().map_err(|source| self.unreachable(source))
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Answer,
        method: &str,
        path: &str,
    ) -> Result<T, Error> {
        let answer = self.accept(answer, method, path)?;
        let status = answer.status();
        let body = self.body(answer)?;
        serde_json::from_slice(&body)
            .map_err(|source| self.unreadable(method, path, status, source.into()))
    }

    /// An answer that is not an error.
    fn accept(&self, answer: Answer, method: &str, path: &str) -> Result<Response<Body>, Error> {
        let answer = answer.map_err(|source| self.unreachable(source))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(Error::Unauthorised { address: self.base.clone() });
        }
        let body = self.body(answer)?;
        let refused: ErrorBody = serde_json::from_slice(&body)
            .map_err(|source| self.unreadable(method, path, status, source.into()))?;
        let (code, message) = (refused.error, refused.message);
        Err(Error::Refused { status: status.as_u16(), code, message })
    }

    fn body(&self, mut answer: Response<Body>) -> Result<Vec<u8>, Error> {
        let reader = answer.body_mut().with_config().limit(ANSWER_MAX_BYTES);
        reader.read_to_vec().map_err(|source| self.unreachable(source))
    }

    fn unreachable(&self, source: ureq::Error) -> Error {
        Error::Unreachable { address: self.base.clone(), source: Box::new(source) }
    }

    fn unreadable(
        &self,
        method: &str,
        path: &str,
        status: StatusCode,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> Error {
        let (address, request) = (self.base.clone(), format!("{method} {path}"));
        Error::Unreadable { address, request, status: status.as_u16(), source }
    }
}

/// A path with those parameters that are there.
pub(crate) fn with_query<const N: usize>(path: &str, pairs: [(&str, Option<String>); N]) -> String {
    let mut path = path.to_owned();
    let mut mark = '?';
    for (name, value) in pairs {
        if let Some(value) = value {
            let _ = write!(path, "{mark}{name}={}", encode(&value));
            mark = '&';
        }
    }
    path
}

/// The path of one thing: its name may hold whatever a person typed.
pub(crate) fn path(collection: &str, name: &str, tail: &str) -> String {
    format!("{collection}/{}{tail}", encode(name))
}

/// Percent-encodes all but unreserved characters (RFC 3986, 2.3).
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_segment() {
        assert_eq!(path("/v1/hosts", "a/../b?c d", "/drain"), "/v1/hosts/a%2F..%2Fb%3Fc%20d/drain");
        assert_eq!(path("/v1/services", "über", ""), "/v1/services/%C3%BCber");
    }

    #[test]
    fn a_base_may_leave_out_its_scheme_and_end_in_a_slash() {
        assert_eq!(Client::new("127.0.0.1:21000/", "t").base(), "http://127.0.0.1:21000");
        assert_eq!(Client::new("http://h:1", "t").base(), "http://h:1");
    }

    #[test]
    fn nobody_there_names_the_address_and_the_fix() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Client::new(&free.to_string(), "t").fleet().unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(&free.to_string()), "{error}");
        assert!(error.to_string().contains("evenkeel up"), "{error}");
    }

    #[test]
    fn debug_output_holds_no_token() {
        assert!(!format!("{:?}", Client::new("h:1", "s3cret")).contains("s3cret"));
    }
}
