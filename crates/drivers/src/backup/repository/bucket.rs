//! A repository in a bucket of object storage that speaks S3.
//!
//! A command that stores one file lives for one file, so requests are blocking, on one connection, and
//! signed in their address. What a server says it stored is asked for again before it is believed.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use evenkeel_core::backup::archive::Error;
use evenkeel_core::backup::lineage::Bucket as Place;
use rusty_s3::actions::{CompleteMultipartUploadResponse, CreateMultipartUpload, ListObjectsV2};
use rusty_s3::{Credentials, S3Action, UrlStyle};
use ureq::http::{Request, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::{MARKER, Put, Repository, Upload};

/// A signature is good for so long.
const SIGNED: Duration = Duration::from_secs(15 * 60);
/// To be connected.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// For the head of an answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Without a byte more, in either direction.
const STALL_MAX: Duration = Duration::from_secs(30);
/// A part of a large object, at first.
const PART_BYTES: usize = 16 << 20;
/// After so many parts they are larger by as much again: ten thousand of them are 880 GB.
const PARTS_GROW: usize = 1000;
/// A part is tried so often.
const PART_TRIES: u32 = 4;
/// Before the next try, doubled each time.
const PART_PAUSE: Duration = Duration::from_millis(500);
/// Of an answer that refuses, so much is read.
const REFUSAL_MAX: u64 = 8 << 10;

type Response = ureq::http::Response<Body>;

/// A bucket.
#[derive(Clone)]
pub struct Bucket {
    name: String,
    prefix: String,
    agent: Agent,
    bucket: rusty_s3::Bucket,
    credentials: Credentials,
}

/// Makes a place in a bucket a repository; one that is stays as it is.
///
/// # Errors
/// [`Error`], also when there are objects in it that are not a repository's, or when the server does not
/// keep to "only if there is none".
pub fn found(name: &str, place: &Place) -> Result<(), Error> {
    let bucket = Bucket::new(name, place)?;
    match bucket.check() {
        Ok(()) => return Ok(()),
        Err(Error::NotThere { .. }) => {}
        Err(error) => return Err(error),
    }
    if !bucket.children("")?.is_empty() {
        return Err(bucket.fault("it holds other objects; name an empty prefix"));
    }
    let text = serde_json::json!({ "repository": name }).to_string();
    bucket.put(MARKER, text.as_bytes())?;
    match bucket.put(MARKER, text.as_bytes())? {
        Put::Exists => Ok(()),
        Put::Stored => Err(bucket.fault(
            "its server overwrites objects though it is told not to (If-None-Match): two servers' \
             logs could not be kept apart",
        )),
    }
}

impl Bucket {
    /// Opens a bucket; nothing is asked of it yet.
    pub fn new(name: &str, place: &Place) -> Result<Self, Error> {
        let why = |why: String| Error::Unreachable { repository: name.to_owned(), why };
        let endpoint = url::Url::parse(&place.endpoint)
            .map_err(|error| why(format!("{:?} is no address: {error}", place.endpoint)))?;
        let loopback = matches!(endpoint.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if endpoint.scheme() != "https" && !loopback {
            return Err(why(format!("{} is not https", place.endpoint)));
        }
        let style = if place.virtual_host { UrlStyle::VirtualHost } else { UrlStyle::Path };
        let bucket =
            rusty_s3::Bucket::new(endpoint, style, place.bucket.clone(), place.region.clone())
                .map_err(|error| why(format!("{}: {error}", place.bucket)))?;
        let roots = match &place.ca {
            None => RootCerts::WebPki,
            Some(pem) => RootCerts::new_with_certs(&certificates(pem).map_err(why)?),
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_recv_response(Some(ANSWER_MAX))
            .timeout_per_read(Some(STALL_MAX))
            .timeout_per_write(Some(STALL_MAX))
            .build()
            .new_agent();
        Ok(Self {
            name: name.to_owned(),
            prefix: place.prefix.clone(),
            agent,
            bucket,
            credentials: Credentials::new(&place.access_key, &place.secret_key.0),
        })
    }

    fn key(&self, path: &str) -> String {
        if self.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.prefix) }
    }

    fn fault(&self, why: &str) -> Error {
        Error::Unreachable { repository: self.name.clone(), why: why.to_owned() }
    }

    /// Asks; any answer at all is one.
    fn ask<'a>(
        &self,
        mut action: impl S3Action<'a>,
        method: &str,
        headers: &[(&'static str, &'a str)],
        body: Option<&[u8]>,
    ) -> Result<Response, Error> {
        for (name, value) in headers {
            action.headers_mut().insert(*name, *value);
        }
        let mut request = Request::builder().method(method).uri(action.sign(SIGNED).as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // A request's address bears its signature: errors are told without it.
        let built = |error: ureq::http::Error| self.fault(&error.to_string());
        let answer = match body {
            Some(bytes) => self.agent.run(request.body(bytes).map_err(built)?),
            None => {
                let request = request.body(()).map_err(built)?;
                match self.agent.run(request.clone()) {
                    // A connection that was kept may be closed by now, which says nothing of its server:
                    // what only asks is asked once more, on a new one.
                    Err(ureq::Error::Io(_)) => self.agent.run(request),
                    answer => answer,
                }
            }
        };
        answer.map_err(|error| self.fault(&error.to_string()))
    }

    /// What an answer that is not a success means.
    fn refused(&self, path: &str, answer: Response) -> Error {
        let status = answer.status();
        let mut text = String::new();
        // What cannot be read of it has no code.
        let _ = answer.into_body().into_reader().take(REFUSAL_MAX).read_to_string(&mut text);
        let code = element(&text, "Code").unwrap_or_default();
        let repository = self.name.clone();
        match (status, code) {
            (StatusCode::NOT_FOUND, "NoSuchKey") => {
                Error::NotThere { repository, name: path.to_owned() }
            }
            (StatusCode::FORBIDDEN, "RequestTimeTooSkewed") => {
                self.fault("this machine's clock is too far from its server's")
            }
            (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) => Error::Denied { repository },
            (StatusCode::INSUFFICIENT_STORAGE, _)
            | (_, "QuotaExceeded" | "XMinioStorageFull" | "StorageFull") => {
                Error::Full { repository }
            }
            _ => self.fault(&format!("its server answers {status} {code}")),
        }
    }

    fn get(&self, path: &str) -> Result<Response, Error> {
        let key = self.key(path);
        let action = self.bucket.get_object(Some(&self.credentials), &key);
        let answer = self.ask(action, "GET", &[], None)?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refused(path, answer)) }
    }

    /// Whether it is a repository; [`Error::NotThere`]: it is asked, and it is none.
    fn check(&self) -> Result<(), Error> {
        self.get(MARKER).map(drop)
    }

    /// Nothing is believed to be absent where there is no repository.
    fn absent<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        if !matches!(answer, Err(Error::NotThere { .. })) {
            return answer;
        }
        match self.check() {
            Ok(()) => answer,
            Err(Error::NotThere { .. }) => {
                Err(self.fault("its place in the bucket is no repository"))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether there is an object, as far as can be told.
    fn holds(&self, path: &str) -> bool {
        let key = self.key(path);
        let action = self.bucket.head_object(Some(&self.credentials), &key);
        self.ask(action, "HEAD", &[], None).is_ok_and(|answer| answer.status().is_success())
    }

    /// Whether an object of so many bytes is there, as its server just said.
    fn stored(&self, path: &str, bytes: u64) -> Result<(), Error> {
        let key = self.key(path);
        let action = self.bucket.head_object(Some(&self.credentials), &key);
        let answer = self.ask(action, "HEAD", &[], None)?;
        let length = answer.headers().get("content-length").and_then(|value| value.to_str().ok());
        if answer.status().is_success() && length.and_then(|text| text.parse().ok()) == Some(bytes)
        {
            return Ok(());
        }
        Err(self.fault(&format!("its server said that it stored {path}, and has it not")))
    }

    fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        let below = if path.is_empty() { self.key("") } else { format!("{}/", self.key(path)) };
        let (mut names, mut token) = (Vec::new(), None);
        loop {
            let mut action = ListObjectsV2::new(&self.bucket, Some(&self.credentials));
            action.with_prefix(below.clone());
            action.with_delimiter("/");
            if let Some(token) = token {
                action.with_continuation_token(token);
            }
            let answer = self.ask(action, "GET", &[], None)?;
            if !answer.status().is_success() {
                return Err(self.refused(path, answer));
            }
            let text = self.text(answer)?;
            let page = ListObjectsV2::parse_response(&text)
                .map_err(|error| self.fault(&format!("its list cannot be read: {error}")))?;
            let keys = page.contents.into_iter().map(|object| object.key);
            let keys = keys.chain(page.common_prefixes.into_iter().map(|found| found.prefix));
            let name = |key: String| {
                key.strip_prefix(&below).map(|name| name.trim_end_matches('/').to_owned())
            };
            names.extend(keys.filter_map(name).filter(|name| !name.is_empty()));
            token = page.next_continuation_token;
            if token.is_none() {
                names.sort();
                return Ok(names);
            }
        }
    }

    fn text(&self, answer: Response) -> Result<String, Error> {
        let read = answer.into_body().read_to_string();
        read.map_err(|error| self.fault(&error.to_string()))
    }
}

fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for item in parse_pem(pem.as_bytes()) {
        match item.map_err(|error| format!("its certificates cannot be read: {error}"))? {
            PemItem::Certificate(certificate) => found.push(certificate),
            _ => return Err("its certificates are more than certificates".to_owned()),
        }
    }
    if found.is_empty() { Err("there is no certificate in its file".to_owned()) } else { Ok(found) }
}

/// The text of an element of a small XML document.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

impl Repository for Bucket {
    fn name(&self) -> &str {
        &self.name
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<Put, Error> {
        let key = self.key(path);
        let action = self.bucket.put_object(Some(&self.credentials), &key);
        let answer = match self.ask(action, "PUT", &[("if-none-match", "*")], Some(bytes)) {
            Ok(answer) => answer,
            // Who has it already may hang up before a large object was read.
            Err(_) if self.holds(path) => return Ok(Put::Exists),
            Err(error) => return Err(error),
        };
        match answer.status() {
            StatusCode::PRECONDITION_FAILED => Ok(Put::Exists),
            status if status.is_success() => {
                self.stored(path, length(bytes.len())).map(|()| Put::Stored)
            }
            _ => Err(self.refused(path, answer)),
        }
    }

    fn upload(&self, path: &str) -> Result<Box<dyn Upload>, Error> {
        let bucket = self.clone();
        let path = path.to_owned();
        let (buffer, tags) = (Vec::new(), Vec::new());
        Ok(Box::new(Uploading { bucket, path, buffer, id: None, tags, bytes: 0 }))
    }

    fn read(&self, path: &str) -> Result<Box<dyn Read + Send>, Error> {
        let answer = self.absent(self.get(path))?;
        Ok(Box::new(Reading(answer.into_body().into_reader())))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let names = self.children(path)?;
        if names.is_empty() {
            let none = Error::NotThere { repository: self.name.clone(), name: path.to_owned() };
            return match self.absent::<()>(Err(none)) {
                Err(Error::NotThere { .. }) | Ok(()) => Ok(names),
                Err(error) => Err(error),
            };
        }
        Ok(names)
    }

    fn hold(&self, _path: &str) -> Result<Option<File>, Error> {
        Ok(None)
    }

    fn remove(&self, path: &str) -> Result<(), Error> {
        let key = self.key(path);
        let action = self.bucket.delete_object(Some(&self.credentials), &key);
        let answer = self.ask(action, "DELETE", &[], None)?;
        if answer.status().is_success() {
            return Ok(());
        }
        match self.refused(path, answer) {
            Error::NotThere { .. } => Ok(()),
            error => Err(error),
        }
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// An object as it comes. A connection that ends early is no damage.
struct Reading<R>(R);

impl<R: Read> Read for Reading<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData => {
                io::Error::new(ErrorKind::ConnectionAborted, error.to_string())
            }
            _ => error,
        })
    }
}

/// An object in parts: there is none of its name before all of them are put together.
struct Uploading {
    bucket: Bucket,
    path: String,
    buffer: Vec<u8>,
    id: Option<String>,
    tags: Vec<String>,
    bytes: u64,
}

impl Uploading {
    fn part_bytes(&self) -> usize {
        PART_BYTES * (1 + self.tags.len() / PARTS_GROW)
    }

    fn id(&mut self) -> Result<String, Error> {
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let bucket = &self.bucket;
        let key = bucket.key(&self.path);
        let action = CreateMultipartUpload::new(&bucket.bucket, Some(&bucket.credentials), &key);
        let answer = bucket.ask(action, "POST", &[], Some(b""))?;
        if !answer.status().is_success() {
            return Err(bucket.refused(&self.path, answer));
        }
        let text = bucket.text(answer)?;
        let begun = CreateMultipartUpload::parse_response(&text)
            .map_err(|error| bucket.fault(&format!("its answer cannot be read: {error}")))?;
        Ok(self.id.insert(begun.upload_id().to_owned()).clone())
    }

    /// Sends a part; what may pass is tried again.
    fn part(&mut self) -> Result<(), Error> {
        let mut tries = 1;
        loop {
            match self.part_once() {
                Ok(tag) => {
                    self.tags.push(tag);
                    self.bytes += length(self.buffer.len());
                    self.buffer.clear();
                    return Ok(());
                }
                Err(error @ Error::Unreachable { .. }) if tries == PART_TRIES => return Err(error),
                Err(Error::Unreachable { .. }) => {
                    std::thread::sleep(PART_PAUSE * (1 << (tries - 1)));
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn part_once(&mut self) -> Result<String, Error> {
        let id = self.id()?;
        let bucket = &self.bucket;
        let key = bucket.key(&self.path);
        let number = u16::try_from(self.tags.len() + 1).unwrap_or(u16::MAX);
        let action = bucket.bucket.upload_part(Some(&bucket.credentials), &key, number, &id);
        let answer = bucket.ask(action, "PUT", &[], Some(&self.buffer))?;
        let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok());
        match tag.map(str::to_owned) {
            Some(tag) if answer.status().is_success() => Ok(tag),
            None if answer.status().is_success() => Err(bucket.fault("a part came to nothing")),
            _ => Err(bucket.refused(&self.path, answer)),
        }
    }

    fn complete(&self, id: &str) -> Result<(), Error> {
        let bucket = &self.bucket;
        let key = bucket.key(&self.path);
        let tags = self.tags.iter().map(String::as_str);
        let action = bucket.bucket.complete_multipart_upload(
            Some(&bucket.credentials),
            &key,
            id,
            tags.clone(),
        );
        let body = action.clone().body();
        let answer = bucket.ask(action, "POST", &[], Some(body.as_bytes()))?;
        if !answer.status().is_success() {
            return Err(bucket.refused(&self.path, answer));
        }
        // It answers before it is done: what went wrong then is in a success.
        let text = bucket.text(answer)?;
        CompleteMultipartUploadResponse::parse(&text).map(drop).map_err(|_| {
            let code = element(&text, "Code").unwrap_or("nothing that can be read");
            bucket.fault(&format!("its server put an object together, and answers {code}"))
        })
    }
}

impl Write for Uploading {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() >= self.part_bytes() {
            self.part().map_err(io::Error::other)?;
        }
        let room = self.part_bytes() - self.buffer.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.buffer.extend_from_slice(taken);
        Ok(taken.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for Uploading {
    fn finish(mut self: Box<Self>) -> Result<u64, Error> {
        // There is always one part: whatever an earlier try left of this name is replaced.
        self.part()?;
        let id = self.id()?;
        self.complete(&id)?;
        self.id = None;
        self.bucket.stored(&self.path, self.bytes)?;
        Ok(self.bytes)
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        let Some(id) = &self.id else { return };
        let (bucket, key) = (&self.bucket, self.bucket.key(&self.path));
        let action = bucket.bucket.abort_multipart_upload(Some(&bucket.credentials), &key, id);
        // Parts that stay cost room and are no object.
        let _ = bucket.ask(action, "DELETE", &[], None);
    }
}
