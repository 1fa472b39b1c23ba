//! One request to a provider, within a deadline that holds whatever its server does.
//!
//! The client counts one time for everything: name, connection, TLS, head and body. What comes byte by
//! byte, also inside of a TLS record, does not stretch it; tests hold the client to that.
//!
//! Invariants: no redirect is followed; no proxy is taken from the environment; an address is shown as
//! its host only, since the rest of it may be the secret.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use url::Url;

use super::Deadline;
use super::fields::{Fault, Fields};
use super::secret::Secret;

/// Of an answer, so much is read, in bytes.
const ANSWER_MAX_BYTES: u64 = 256 << 10;

/// Whether everything that is sent may be read on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A key or a token goes with it.
    Secret,
    /// What is wrong, and nothing that lets anybody in.
    Plain,
}

/// A provider's address and what opens it.
#[derive(Debug)]
pub(crate) struct Site {
    url: Secret,
    /// Host and port, for people.
    pub host: String,
    tls: TlsConfig,
    authorization: Option<Secret>,
}

/// What a provider answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub status: u16,
    /// The body, as far as it is read.
    pub body: String,
}

impl Answer {
    /// The body as JSON; `Null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The answer in one line.
    pub fn quote(&self) -> String {
        match self.body.trim() {
            "" => format!("{} with an empty body", self.status),
            body => format!("{}: {body}", self.status),
        }
    }
}

impl Site {
    /// Takes a site's fields: an address, certificates, who one is.
    pub fn take(
        fields: &mut Fields<'_>,
        default: Option<&str>,
        content: Content,
    ) -> Result<Self, Fault> {
        let url = match (fields.secret("url")?, default) {
            (Some(url), _) => url,
            (None, Some(default)) => Secret::new(default),
            (None, None) => {
                return Err(fields.fault("url is missing; give url, url_file or url_env"));
            }
        };
        let parsed = Url::parse(url.reveal()).ok();
        let parsed = parsed.filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(parsed) = parsed.filter(Url::has_host) else {
            return Err(fields.fault("the url must be a whole address: https://host/path"));
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(fields.fault("the url holds a user name; give username and password"));
        }
        // What follows the host is the secret of many; the host is shown.
        let tail = &parsed[url::Position::BeforePath..];
        if tail.len() > 1 && default != Some(url.reveal()) {
            fields.hide(&Secret::new(tail));
        }
        let bearer = fields.secret("bearer_token")?;
        let username = fields.text("username")?;
        let password = fields.secret("password")?;
        let authorization = match (bearer, username, password) {
            (None, None, None) => None,
            (Some(token), None, None) => Some(Secret::bearer(&token)),
            (None, Some(username), Some(password)) => Some(Secret::basic(&username, &password)),
            (None, _, _) => return Err(fields.fault("give username and password, or neither")),
            _ => return Err(fields.fault("give bearer_token, or username and password, not both")),
        };
        if let Some(authorization) = &authorization {
            fields.hide(authorization);
        }
        let loopback = matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let secret = content == Content::Secret || authorization.is_some();
        let allowed = fields.flag("allow_plaintext", false)?;
        if parsed.scheme() == "http" && secret && !loopback && !allowed {
            return Err(fields.fault(
                "the url is http, and a secret would be readable on the way: use https, or add \
                 `allow_plaintext = true` if the network is trusted",
            ));
        }
        let roots = match fields.text("ca_file")? {
            None => RootCerts::WebPki,
            Some(path) => {
                let pem = fields.file("ca_file", &path)?;
                let found = certificates(&pem);
                let none = || fields.fault_of("ca_file", "holds no certificate in PEM");
                RootCerts::new_with_certs(&found.ok_or_else(none)?)
            }
        };
        let tls = TlsConfig::builder().root_certs(roots).build();
        let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = format!("{}{port}", parsed.host_str().unwrap_or_default());
        Ok(Self { url, host, tls, authorization })
    }

    /// Asks below the site's address, and reads the answer, whatever it is.
    ///
    /// # Errors
    /// A sentence, when there was no answer.
    pub fn ask(&self, ask: &Ask<'_>, deadline: &Deadline) -> Result<Answer, String> {
        let url = format!("{}{}", self.url.reveal().trim_end_matches('/'), ask.below);
        let url = if ask.below.is_empty() { self.url.reveal().to_owned() } else { url };
        let body = ask.json.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder().method(ask.method.clone()).uri(url);
        request = request.header("accept", "application/json, */*;q=0.1");
        if ask.json.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in ask.headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization.reveal());
        }
        let unfit = || format!("{}: its address cannot be asked for; correct the url", self.host);
        let request = request.body(body).map_err(|_| unfit())?;
        let late = || self.late(deadline, "its answer was not whole by then");
        let left = deadline.left().ok_or_else(late)?;
        exchange(&self.agent(left), request).map_err(|error| self.sentence(&error, deadline))
    }

    fn agent(&self, left: Duration) -> Agent {
        Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(self.tls.clone())
            .user_agent("evenkeel")
            .timeout_global(Some(left))
            .build()
            .new_agent()
    }

    fn late(&self, deadline: &Deadline, what: &str) -> String {
        format!("{} took longer than {}: {what}", self.host, deadline.allowed())
    }

    fn distrust(&self, error: &dyn std::error::Error) -> String {
        format!(
            "{} is not trusted: {error}; if its certificate is of an authority of your own, name \
             that in ca_file",
            self.host
        )
    }

    /// What happened, in one sentence.
    fn sentence(&self, error: &ureq::Error, deadline: &Deadline) -> String {
        use std::io::ErrorKind as K;
        use ureq::{Error as E, Timeout as T};
        let host = &self.host;
        match error {
            E::Timeout(T::Resolve) => self.late(deadline, "its name was not resolved by then"),
            E::Timeout(T::Connect) => self.late(deadline, "it was not connected by then"),
            E::Timeout(_) => self.late(deadline, "its answer was not whole by then"),
            E::HostNotFound => format!("{host} has no address: its name is not resolved"),
            E::Io(error) if error.kind() == K::ConnectionRefused => {
                format!("{host} refuses connections")
            }
            E::Io(error) => match error.kind() {
                // What the other side says inside of TLS, or who vouches for it.
                K::InvalidData => self.distrust(error),
                K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof => {
                    format!("the connection to {host} broke: {error}")
                }
                _ => format!("{host} is not reached: {error}"),
            },
            E::Tls(_) | E::Rustls(_) => self.distrust(error),
            error => format!("{host} did not answer as HTTP: {error}"),
        }
    }
}

/// What is asked.
pub(crate) struct Ask<'a> {
    /// How.
    pub method: Method,
    /// Appended to the site's address.
    pub below: &'a str,
    /// Beside what every request has.
    pub headers: &'a [(&'a str, String)],
    /// The body, if there is one.
    pub json: Option<&'a Value>,
}

impl<'a> Ask<'a> {
    /// Posts this to the site's own address.
    pub const fn post(json: &'a Value) -> Self {
        Self { method: Method::POST, below: "", headers: &[], json: Some(json) }
    }
}

fn exchange(agent: &Agent, request: Request<String>) -> Result<Answer, ureq::Error> {
    let mut response = agent.run(request)?;
    let mut body = Vec::new();
    response.body_mut().as_reader().take(ANSWER_MAX_BYTES).read_to_end(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status: response.status().as_u16(), body })
}

fn certificates(pem: &str) -> Option<Vec<Certificate<'static>>> {
    let items: Result<Vec<_>, _> = parse_pem(pem.as_bytes()).collect();
    let only = items.ok()?.into_iter().filter_map(|item| match item {
        PemItem::Certificate(found) => Some(found),
        _ => None,
    });
    let found: Vec<_> = only.collect();
    (!found.is_empty()).then_some(found)
}
