//! Repositories of both sorts by one contract, and object storage that fails in every way it can. The
//! server is a real one that speaks S3, behind TLS with a certificate of its own; faults are put in
//! between.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use evenkeel_core::backup::archive::Error;
use evenkeel_core::backup::lineage::{self, Location};
use evenkeel_core::goal::Password;
use evenkeel_drivers::backup::repository::{self, Put, Repository};
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

const FAULTS: [Fault; 9] = [
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
    fault: Arc<AtomicU8>,
    _directory: tempfile::TempDir,
    _end: mpsc::Sender<()>,
}

impl Storage {
    /// Starts one with an empty bucket.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("backups")).expect("a bucket");
        let mut builder = S3ServiceBuilder::new(
            s3s_fs::FileSystem::new(directory.path()).expect("a file system"),
        );
        builder.set_auth(s3s::auth::SimpleAuth::from_single("somebody", "a secret"));
        let service = builder.build();
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned)).expect("made");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a pair");
        let tls = TlsAcceptor::from(Arc::new(config));
        let fault = Arc::new(AtomicU8::new(0));
        let (end, ended) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let (faults, root) = (Arc::clone(&fault), directory.path().to_owned());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime.spawn(serve(service, tls, (faults, root), tell));
            // Ends when its test does.
            let _ = ended.recv();
            runtime.shutdown_background();
        });
        let address = told.recv().expect("it listens");
        Self { address, ca: made.cert.pem(), fault, _directory: directory, _end: end }
    }

    pub fn set(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }

    fn bucket(&self) -> lineage::Bucket {
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
    pub fn named_place(&self, name: &str) -> lineage::Repository {
        let mut bucket = self.bucket();
        bucket.endpoint = format!("https://localhost:{}", self.address.port());
        lineage::Repository { name: name.to_owned(), location: Location::S3(Box::new(bucket)) }
    }

    /// A repository in it.
    pub fn place(&self, name: &str) -> lineage::Repository {
        let location = Location::S3(Box::new(self.bucket()));
        lineage::Repository { name: name.to_owned(), location }
    }
}

async fn serve(
    service: S3Service,
    tls: TlsAcceptor,
    (fault, root): (Arc<AtomicU8>, PathBuf),
    tell: mpsc::Sender<SocketAddr>,
) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
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

fn read(repository: &dyn Repository, path: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut object = repository.read(path).map_err(|error| error.to_string())?;
    object.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// What every repository keeps to.
fn contract(place: &lineage::Repository) {
    let opened = repository::open(place).expect("opened");
    let one = &*opened;
    let unsure = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::Unreachable { .. })), "{result:?}");
    };
    // Before it is a repository nothing is known to be absent.
    unsure(one.read("a").map(drop));
    unsure(one.list("s").map(drop));
    repository::found(place).expect("founded");
    repository::found(place).expect("it is one");
    let absent = |path: &str| matches!(one.read(path), Err(Error::NotThere { .. }));
    assert!(absent("a") && absent("s/1-1/log/00000001/00000001000000000000000A"));
    assert_eq!(one.list("s"), Ok(vec![]));
    // Once, and never over what is there.
    assert_eq!(one.put("s/terms/7", b""), Ok(Put::Stored));
    assert_eq!(one.put("s/log/one", b"first"), Ok(Put::Stored));
    assert_eq!(one.put("s/log/one", b"second"), Ok(Put::Exists));
    assert_eq!(read(one, "s/log/one"), Ok(b"first".to_vec()));
    assert_eq!(read(one, "s/terms/7"), Ok(vec![]));
    // In pieces of any size, and there only when it is finished.
    let mut state = 7_u32;
    let large: Vec<u8> = (0..37 << 20)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    let mut upload = one.upload("s/backups/3/base").expect("begun");
    upload.write_all(&large[..100]).expect("written");
    upload.write_all(&large[100..]).expect("written");
    assert!(absent("s/backups/3/base"));
    assert_eq!(upload.finish(), Ok(37 << 20));
    assert!(read(one, "s/backups/3/base").expect("there") == large);
    let mut upload = one.upload("s/backups/4/base").expect("begun");
    upload.write_all(&large).expect("written");
    drop(upload);
    assert!(absent("s/backups/4/base"), "what was broken off is nothing");
    let mut upload = one.upload("s/backups/3/base").expect("begun again");
    upload.write_all(b"shorter").expect("written");
    assert_eq!(upload.finish(), Ok(7));
    assert_eq!(read(one, "s/backups/3/base"), Ok(b"shorter".to_vec()));
    // By one level, in order.
    for number in (0..7).rev() {
        one.put(&format!("s/log/0000000{number}/x"), b"x").expect("stored");
    }
    let names = |path: &str| one.list(path).expect("asked").join(" ");
    assert_eq!(names("s"), "backups log terms");
    assert_eq!(
        names("s/log"),
        "00000000 00000001 00000002 00000003 00000004 00000005 00000006 one"
    );
    assert_eq!(names("s/backups/3"), "base");
    one.remove("s/log/one").expect("removed");
    one.remove("s/log/one").expect("it is gone already");
    assert!(absent("s/log/one"));
    assert_eq!(one.put("s/log/one", b"second"), Ok(Put::Stored), "the name is free again");
}

#[test]
fn a_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("a plain path").to_owned();
    contract(&lineage::Repository {
        name: "near".to_owned(),
        location: Location::Directory { path },
    });
}

#[test]
fn a_bucket_keeps_the_contract() {
    let storage = Storage::start();
    contract(&storage.place("far"));
}

#[test]
fn what_storage_cannot_say_is_never_taken_for_an_answer() {
    let storage = Storage::start();
    let place = storage.place("far");
    repository::found(&place).expect("founded");
    let opened = repository::open(&place).expect("opened");
    let one = &*opened;
    assert_eq!(one.put("kept", &[7; 100_000]), Ok(Put::Stored));
    for fault in &FAULTS[1..] {
        storage.set(*fault);
        let asked = read(one, "kept");
        match fault {
            Fault::Lies | Fault::Overwrites => assert!(asked.is_ok(), "{fault:?}"),
            // What is read is sealed, and its end is part of it.
            Fault::Short => assert!(asked.is_ok_and(|bytes| bytes.len() < 100_000)),
            _ => assert!(asked.is_err(), "{fault:?}"),
        }
        if *fault == Fault::Hangs {
            // Once is enough, for as long as it takes.
            continue;
        }
        let absent = one.read("nowhere").map(drop).expect_err("it is nowhere");
        let answers = matches!(fault, Fault::Lies | Fault::Overwrites | Fault::Short);
        let said = matches!(absent, Error::NotThere { .. });
        assert!(said == answers || *fault == Fault::Short, "{fault:?}: {absent}");
        let put = one.put(&format!("new-{fault:?}"), b"new");
        let expected = match fault {
            Fault::Overwrites | Fault::Short => put == Ok(Put::Stored),
            Fault::Full => matches!(put, Err(Error::Full { .. })),
            _ => matches!(put, Err(Error::Unreachable { .. })),
        };
        assert!(expected, "{fault:?}: {put:?}");
        storage.set(Fault::None);
        assert!(read(one, "kept").expect("there") == [7; 100_000], "{fault:?}");
        let there = read(one, &format!("new-{fault:?}")).is_ok();
        assert_eq!(there, put == Ok(Put::Stored), "{fault:?}");
    }
}

#[test]
fn a_place_that_cannot_be_a_repository_is_refused_by_name() {
    let storage = Storage::start();
    let refused = |change: &dyn Fn(&mut lineage::Bucket)| {
        let mut bucket = storage.bucket();
        change(&mut bucket);
        let location = Location::S3(Box::new(bucket));
        let place = lineage::Repository { name: "far".to_owned(), location };
        let error = repository::found(&place).expect_err("refused").to_string();
        assert!(error.contains("far") && !error.contains("a secret"), "{error}");
        error
    };
    let error = refused(&|bucket| bucket.secret_key = Password("another".to_owned()));
    assert!(error.contains("credentials"), "{error}");
    let error = refused(&|bucket| bucket.bucket = "nowhere".to_owned());
    assert!(error.contains("404"), "{error}");
    let error = refused(&|bucket| bucket.ca = None);
    assert!(error.contains("certificate"), "{error}");
    let error = refused(&|bucket| bucket.endpoint = "http://192.0.2.1".to_owned());
    assert!(error.contains("not https"), "{error}");
    let error = refused(&|bucket| bucket.endpoint = "https://127.0.0.1:1".to_owned());
    assert!(error.contains("refused"), "{error}");
    let error = refused(&|bucket| bucket.ca = Some("nothing".to_owned()));
    assert!(error.contains("no certificate"), "{error}");
    storage.set(Fault::Overwrites);
    let error = refused(&|bucket| bucket.prefix = "other".to_owned());
    assert!(error.contains("If-None-Match"), "{error}");
    storage.set(Fault::None);
    // Somebody else's objects are left alone.
    repository::found(&storage.place("far")).expect("founded");
    let error = refused(&|bucket| bucket.prefix = "fleets".to_owned());
    assert!(error.contains("other objects"), "{error}");
}
