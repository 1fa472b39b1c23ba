//! Repositories: objects under names, put once.

mod bucket;
mod directory;

use std::fs::File;
use std::io::{Read, Write};

use evenkeel_core::backup::archive::Error;
use evenkeel_core::backup::lineage::{Location, Repository as Place};

/// Says that a place is a repository: a disk that is not mounted has none.
const MARKER: &str = "evenkeel-repository.json";

/// What came of putting an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there now, durably.
    Stored,
    /// There was one of that name; it is as it was.
    Exists,
}

/// An object on its way; it is there once it is finished, and not before.
pub trait Upload: Write + Send {
    /// Makes it durable under its name, in place of one that was there. Bytes that were written.
    ///
    /// # Errors
    /// [`Error`]; then it is not there.
    fn finish(self: Box<Self>) -> Result<u64, Error>;
}

/// A place for objects. Names are paths of safe words.
pub trait Repository: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;
    /// Puts a small object where there is none of its name.
    ///
    /// # Errors
    /// [`Error`].
    fn put(&self, path: &str, bytes: &[u8]) -> Result<Put, Error>;
    /// Begins an object of any size.
    ///
    /// # Errors
    /// [`Error`].
    fn upload(&self, path: &str) -> Result<Box<dyn Upload>, Error>;
    /// Reads an object.
    ///
    /// # Errors
    /// [`Error::NotThere`] only if the repository was reached and it is not there.
    fn read(&self, path: &str) -> Result<Box<dyn Read + Send>, Error>;
    /// Names of objects and directories directly below one, in order.
    ///
    /// # Errors
    /// [`Error`]; nothing below is no error.
    fn list(&self, path: &str) -> Result<Vec<String>, Error>;
    /// Holds an object that is there, against others who would hold it, until what is given is dropped;
    /// `None`: what is written here shows only whole, and nobody needs to.
    ///
    /// # Errors
    /// [`Error`].
    fn hold(&self, path: &str) -> Result<Option<File>, Error>;
    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// [`Error`].
    fn remove(&self, path: &str) -> Result<(), Error>;
}

/// Opens a repository; nothing is asked of it yet.
///
/// # Errors
/// Where what is known of its place makes no sense.
pub fn open(place: &Place) -> Result<Box<dyn Repository>, Error> {
    match &place.location {
        Location::Directory { path } => {
            Ok(Box::new(directory::Directory::new(&place.name, path.as_ref())))
        }
        Location::S3(bucket) => Ok(Box::new(bucket::Bucket::new(&place.name, bucket)?)),
    }
}

/// Makes a place a repository; one that is stays as it is.
///
/// # Errors
/// [`Error`], also when there is something in it that is not a repository's.
pub fn found(place: &Place) -> Result<(), Error> {
    match &place.location {
        Location::Directory { path } => directory::found(&place.name, path.as_ref()),
        Location::S3(bucket) => bucket::found(&place.name, bucket),
    }
}
