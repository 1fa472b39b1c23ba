//! Repositories of both sorts by one contract, and object storage that fails in every way it can.

use std::io::{Read, Write};

use evenkeel_core::backup::archive::Error;
use evenkeel_core::backup::lineage::{self, Location};
use evenkeel_core::goal::Password;
use evenkeel_drivers::backup::repository::{self, Put, Repository};

use super::storage::{FAULTS, Fault, Storage};

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
