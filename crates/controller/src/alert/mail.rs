//! E-mail, by SMTP. Confirmed by the server's word after the whole message, for at least one reader.
//!
//! The session runs on a small runtime of its own, so that it ends when its time is over, wherever the
//! server left it hanging. A reader whom the server does not take keeps no other from being told.

use std::net::IpAddr;

use evenkeel_core::alert::Receipt;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::commands::{Data, Mail as From, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};

use super::fields::{Fault, Fields};
use super::secret::Secret;
use super::{Call, Channel, cut, wording};

/// Longest subject, in characters.
const SUBJECT_MAX: usize = 200;
/// Most readers of one channel.
const READERS_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    /// Encrypted after a greeting; a server that cannot is refused.
    StartTls,
    /// Encrypted from the first byte.
    Tls,
    /// Not at all.
    Plain,
}

struct Mail {
    server: String,
    port: u16,
    security: Security,
    tls: Option<TlsParameters>,
    login: Option<(String, Secret)>,
    from: Mailbox,
    to: Vec<Mailbox>,
    hello: ClientId,
}

/// Opens one.
pub(super) fn open(fields: &mut Fields<'_>) -> Result<Box<dyn Channel>, Fault> {
    let server = fields.needed("server", "\"smtp.example.com\"")?;
    let (security, port) = match fields.word("security", &["starttls", "tls", "plain"])? {
        "tls" => (Security::Tls, 465),
        "plain" => (Security::Plain, 25),
        _ => (Security::StartTls, 587),
    };
    let port = fields.port("port", port)?;
    let address: Option<IpAddr> = server.parse().ok();
    let loopback = server == "localhost" || address.is_some_and(|address| address.is_loopback());
    let allowed = fields.flag("allow_plaintext", false)?;
    if security == Security::Plain && !loopback && !allowed {
        return Err(fields.fault(
            "security is plain, and the server is not on this machine: use starttls or tls, or add \
             `allow_plaintext = true` if the network is trusted",
        ));
    }
    let username = fields.text("username")?;
    let login = match (username, fields.secret("password")?) {
        (None, None) => None,
        (Some(username), Some(password)) => {
            // As it goes over the wire (RFC 4616), in case a server repeats it.
            fields.hide(&Secret::new(format!("\0{username}\0{}", password.reveal())));
            Some((username, password))
        }
        _ => return Err(fields.fault("give username and password, or neither")),
    };
    let from = fields.needed("from", "\"Evenkeel <evenkeel@example.com>\"")?;
    let from = mailbox(fields, "from", &from)?;
    let readers = fields.texts("to")?;
    if readers.is_empty() || readers.len() > READERS_MAX {
        return Err(
            fields.fault(format!("to must name 1 to {READERS_MAX} readers: to = [\"...\"]"))
        );
    }
    let to =
        readers.iter().map(|reader| mailbox(fields, "to", reader)).collect::<Result<_, _>>()?;
    let ca = match fields.text("ca_file")? {
        Some(path) => Some(fields.file("ca_file", &path)?),
        None => None,
    };
    let tls = match security {
        Security::Plain => None,
        Security::StartTls | Security::Tls => Some(
            parameters(&server, ca.as_deref())
                .ok_or_else(|| fields.fault("server or ca_file cannot be used for TLS"))?,
        ),
    };
    let hello = match fields.text("hello")? {
        Some(name) => ClientId::Domain(name),
        None => ClientId::default(),
    };
    Ok(Box::new(Mail { server, port, security, tls, login, from, to, hello }))
}

fn mailbox(fields: &Fields<'_>, name: &str, text: &str) -> Result<Mailbox, Fault> {
    text.parse()
        .map_err(|_| fields.fault_of(name, format!("has {text:?}, which is no e-mail address")))
}

fn parameters(server: &str, ca: Option<&str>) -> Option<TlsParameters> {
    let builder = TlsParameters::builder(server.to_owned());
    let builder = match ca {
        None => builder.certificate_store(CertificateStore::WebpkiRoots),
        Some(pem) => builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(Certificate::from_pem(pem.as_bytes()).ok()?),
    };
    builder.build().ok()
}

impl Mail {
    fn message(&self, call: &Call<'_>) -> Result<Message, String> {
        let notice = call.notice();
        let host = self.from.email.domain();
        // Mails of one incident are one conversation.
        let thread = format!("<{}@{host}>", call.incident_key());
        let id = format!("<{}@{host}>", call.delivery_key());
        let auto = HeaderName::new_from_ascii_str("Auto-Submitted");
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(cut(&wording::subject(notice), SUBJECT_MAX))
            .message_id(Some(id))
            .references(thread)
            .raw_header(HeaderValue::new(auto, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN);
        for reader in &self.to {
            message = message.to(reader.clone());
        }
        let message = message.body(wording::body(call));
        message.map_err(|error| format!("the mail cannot be written: {error}"))
    }

    fn place(&self) -> String {
        format!("{}:{}", self.server, self.port)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, String> {
        let at = |what| move |error| self.sentence(what, &error);
        let first = if self.security == Security::Tls { self.tls.clone() } else { None };
        let server = (self.server.as_str(), self.port);
        let connected =
            AsyncSmtpConnection::connect_tokio1(server, None, &self.hello, first, None).await;
        let mut session = connected.map_err(at("did not greet"))?;
        if let (Security::StartTls, Some(tls)) = (self.security, &self.tls) {
            let upgraded = session.starttls(tls.clone(), &self.hello).await;
            upgraded.map_err(at("did not start TLS"))?;
        }
        if let Some((username, password)) = &self.login {
            let credentials = Credentials::new(username.clone(), password.reveal().to_owned());
            let known = session.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
            known.map_err(at("does not know the username and password"))?;
        }
        Ok(session)
    }

    async fn send(&self, message: &Message) -> Result<Receipt, String> {
        let at = |what| move |error| self.sentence(what, &error);
        let mut session = self.connect().await?;
        let mut options = Vec::new();
        if session.server_info().supports_feature(Extension::EightBitMime) {
            options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let from = From::new(Some(self.from.email.clone()), options);
        session.command(from).await.map_err(at("does not take the sender"))?;
        let mut refused = Vec::new();
        for reader in &self.to {
            let told = session.command(Rcpt::new(reader.email.clone(), Vec::new())).await;
            match told {
                Ok(_) => {}
                Err(error) if error.status().is_some() => {
                    refused.push(format!("{} ({error})", reader.email));
                }
                Err(error) => return Err(self.sentence("broke off", &error)),
            }
        }
        if refused.len() == self.to.len() {
            return Err(format!(
                "{} takes none of the readers: {}",
                self.place(),
                refused.join(", ")
            ));
        }
        session.command(Data).await.map_err(at("does not take the message"))?;
        let taken = session.message(&message.formatted()).await;
        let taken = taken.map_err(at("did not confirm the message"))?;
        // The message is theirs now; whether they answer a goodbye changes nothing, and is not waited for.
        let said: Vec<&str> = taken.message().collect();
        let mut text = format!("{} {}", taken.code(), said.join(" "));
        if !refused.is_empty() {
            text = format!("{text}; not to {}", refused.join(", "));
        }
        Ok(Receipt { text })
    }

    fn sentence(&self, what: &str, error: &SmtpError) -> String {
        let place = self.place();
        let chain = std::iter::successors(std::error::Error::source(error), |error| {
            std::error::Error::source(*error)
        });
        let mut causes: Vec<String> = chain.map(ToString::to_string).collect();
        causes.dedup();
        match error.status() {
            Some(code) => format!("{place} {what}: {code} {}", causes.join(": ")),
            None if causes.is_empty() => format!("{place} {what}: {error}"),
            None => format!("{place} {what}: {}", causes.join(": ")),
        }
    }
}

impl Channel for Mail {
    fn deliver(&self, call: &Call<'_>) -> Result<Receipt, String> {
        let message = self.message(call)?;
        let late = || {
            let place = self.place();
            format!(
                "{place} took longer than {}: the mail was not confirmed",
                call.deadline.allowed()
            )
        };
        let left = call.deadline.left().ok_or_else(late)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no runtime to send mail with: {error}"))?;
        let sent =
            runtime.block_on(async { tokio::time::timeout(left, self.send(&message)).await });
        // A name that is still being resolved is waited for by nobody.
        runtime.shutdown_background();
        sent.unwrap_or_else(|_| Err(late()))
    }

    fn describe(&self) -> String {
        let security = match self.security {
            Security::StartTls => "starttls",
            Security::Tls => "tls",
            Security::Plain => "plain",
        };
        let readers: Vec<String> = self.to.iter().map(|to| to.email.to_string()).collect();
        format!("mail to {} by {} ({security})", readers.join(", "), self.place())
    }
}
