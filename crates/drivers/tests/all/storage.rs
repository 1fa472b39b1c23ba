//! Object storage of a test's own: a real server that speaks S3, behind TLS with a certificate of its own;
//! faults are put in between.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use evenkeel_core::backup::lineage::{self, Location};
use evenkeel_core::goal::Password;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// What the server does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    None,
    /// It answers 500.
    Breaks,
    /// It answers 404, as somebody who is no object storage does.
    Elsewhere,
    /// It has no room.
    Full,
    /// It says that it stored what it did not.
    Lies,
    /// It ends connections.
    Cuts,
    /// It forgets half of what it is asked for.
    Short,
    /// It stores over what is there.
    Overwrites,
    /// It answers nobody.
    Hangs,
}

pub const FAULTS: [Fault; 9] = [
    Fault::None,
    Fault::Breaks,
    Fault::Elsewhere,
    Fault::Full,
    Fault::Lies,
    Fault::Cuts,
    Fault::Short,
    Fault::Overwrites,
    Fault::Hangs,
];

/// What its certificate is for.
const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

/// Object storage of a test's; it ends with it.
pub struct Storage {
    address: SocketAddr,
    ca: String,
    tls: TlsAcceptor,
    fault: Arc<AtomicU8>,
    directory: tempfile::TempDir,
    end: Option<mpsc::Sender<()>>,
}

impl Storage {
    /// Starts one with an empty bucket.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("backups")).expect("a bucket");
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned)).expect("made");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a pair");
        let mut storage = Self {
            address: ([127, 0, 0, 1], 0).into(),
            ca: made.cert.pem(),
            tls: TlsAcceptor::from(Arc::new(config)),
            fault: Arc::new(AtomicU8::new(0)),
            directory,
            end: None,
        };
        storage.run();
        storage
    }

    /// Serves what there is, at the same address as before.
    pub fn run(&mut self) {
        let files = s3s_fs::FileSystem::new(self.directory.path()).expect("a file system");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(s3s::auth::SimpleAuth::from_single("somebody", "a secret"));
        let (service, tls) = (builder.build(), self.tls.clone());
        let (end, ended) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let faults = (Arc::clone(&self.fault), self.directory.path().to_owned());
        let address = self.address;
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime.spawn(serve(address, service, tls, faults, tell));
            // Ends when its test does, or says so.
            let _ = ended.recv();
            runtime.shutdown_background();
        });
        self.address = told.recv().expect("it listens");
        self.end = Some(end);
    }

    /// Its process is gone; what it stored is there.
    #[allow(dead_code, reason = "not every test that has this file kills it")]
    pub fn kill(&mut self) {
        self.end = None;
        while std::net::TcpStream::connect(self.address).is_ok() {
            thread::yield_now();
        }
    }

    pub fn set(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }

    /// How it is reached, and what in it.
    pub fn bucket(&self) -> lineage::Bucket {
        lineage::Bucket {
            endpoint: format!("https://{}", self.address),
            bucket: "backups".to_owned(),
            prefix: "fleets/one".to_owned(),
            region: "eu-1".to_owned(),
            virtual_host: false,
            access_key: "somebody".to_owned(),
            secret_key: Password("a secret".to_owned()),
            ca: Some(self.ca.clone()),
        }
    }

    /// The same, for who does not know addresses in certificates.
    #[allow(dead_code, reason = "not every test that has this file needs it")]
    pub fn named_place(&self, name: &str) -> lineage::Repository {
        let mut bucket = self.bucket();
        bucket.endpoint = format!("https://localhost:{}", self.address.port());
        lineage::Repository { name: name.to_owned(), location: Location::S3(Box::new(bucket)) }
    }

    /// A repository in it.
    #[allow(dead_code, reason = "not every test that has this file needs it")]
    pub fn place(&self, name: &str) -> lineage::Repository {
        let location = Location::S3(Box::new(self.bucket()));
        lineage::Repository { name: name.to_owned(), location }
    }
}

async fn serve(
    address: SocketAddr,
    service: S3Service,
    tls: TlsAcceptor,
    (fault, root): (Arc<AtomicU8>, PathBuf),
    tell: mpsc::Sender<SocketAddr>,
) {
    let listener = tokio::net::TcpListener::bind(address).await.expect("a port");
    tell.send(listener.local_addr().expect("bound")).expect("somebody waits");
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (service, tls) = (service.clone(), tls.clone());
        let (fault, root) = (Arc::clone(&fault), root.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let answer = service_fn(move |request| {
                let fault = FAULTS[usize::from(fault.load(Ordering::SeqCst))];
                answer(service.clone(), (fault, root.clone()), request)
            });
            let served = hyper::server::conn::http1::Builder::new();
            // A client that goes away ends it.
            let _ = served.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    service: S3Service,
    (fault, root): (Fault, PathBuf),
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<s3s::Body>, std::io::Error> {
    let plain = |status: u16, body: &str| {
        let response = hyper::Response::builder().status(status).header("etag", "\"0\"");
        Ok(response.body(s3s::Body::from(body.to_owned())).expect("a response"))
    };
    let method = request.method().clone();
    match fault {
        Fault::Breaks => return plain(500, "<Error><Code>InternalError</Code></Error>"),
        Fault::Elsewhere => return plain(404, "<html>nothing here</html>"),
        Fault::Full => return plain(507, ""),
        Fault::Lies if method == "PUT" => return plain(200, ""),
        Fault::Cuts => return Err(std::io::Error::other("cut")),
        Fault::Hangs => std::future::pending().await,
        Fault::Overwrites if method == "PUT" => {
            // What is not there cannot be in the way.
            let _ = std::fs::remove_file(root.join(request.uri().path().trim_start_matches('/')));
        }
        Fault::None | Fault::Lies | Fault::Short | Fault::Overwrites => {}
    }
    let response = service.call(request.map(s3s::Body::from)).await;
    let mut response = response.map_err(|error| std::io::Error::other(format!("{error:?}")))?;
    if fault == Fault::Short && method == "GET" {
        let body = std::mem::replace(response.body_mut(), s3s::Body::from(String::new()));
        let mut body = body;
        let whole = body.store_all_limited(64 << 20).await.map_err(std::io::Error::other)?;
        response.headers_mut().remove("content-length");
        *response.body_mut() = s3s::Body::from(whole.slice(..whole.len() / 2));
    }
    Ok(response)
}
