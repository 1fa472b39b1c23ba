//! Where an agent's drivers come from: a port, so that tests bring their own.

use std::sync::{Mutex, PoisonError};

use evenkeel_core::driver::{Driver, Error};
use evenkeel_core::goal::Goal;
use evenkeel_core::pooler;
use evenkeel_drivers::Setup;
use evenkeel_drivers::image::{self, Software};

use crate::Options;

/// Makes drivers and what all of them share. Calls may block.
pub trait Drivers: Send + Sync + 'static {
    /// A driver for one member.
    ///
    /// # Errors
    /// When there is none for its kind.
    fn driver(&self, goal: &Goal) -> Result<Box<dyn Driver>, Error>;
    /// A driver for a service's pooler.
    ///
    /// # Errors
    /// When there is none for its kind.
    fn pooler(&self, kind: &str) -> Result<Box<dyn pooler::Driver>, Error>;
    /// Makes one more directory ready; false: there are enough.
    ///
    /// # Errors
    /// [`Error`]; it is tried again later.
    fn fill_pool(&self) -> Result<bool, Error>;
    /// Looks for the software that new members run from; its digest.
    fn image(&self) -> Option<String>;
    /// The major release of what was found last.
    fn version(&self) -> Option<String> {
        None
    }
}

/// The drivers of `evenkeel_drivers`.
pub(crate) struct Real {
    images_dir: std::path::PathBuf,
    setup: Mutex<Setup>,
}

impl Real {
    /// Nothing is looked at yet.
    pub fn new(options: &Options) -> Self {
        let setup = Setup {
            host: options.host.clone(),
            members_dir: options.dir.join("members"),
            socket_root: options.socket_root.clone(),
            pool_dir: options.dir.join("pool"),
            pool_target: options.pool_target,
            image: None,
            launcher: options.launcher.clone(),
            address: options.address.to_string(),
            poolers_dir: options.dir.join("poolers"),
            pooler_image: None,
            backrest_image: None,
        };
        Self { images_dir: options.images_dir.clone(), setup: Mutex::new(setup) }
    }

    fn setup(&self) -> Setup {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drivers for Real {
    fn driver(&self, goal: &Goal) -> Result<Box<dyn Driver>, Error> {
        let kind = &goal.identity.kind;
        let missing = || Error::Failed(format!("this release has no driver for kind {kind:?}"));
        evenkeel_drivers::driver(kind, &self.setup()).ok_or_else(missing)
    }

    fn pooler(&self, kind: &str) -> Result<Box<dyn pooler::Driver>, Error> {
        let missing = || Error::Failed(format!("this release has no pooler for kind {kind:?}"));
        evenkeel_drivers::pooler(kind, &self.setup()).ok_or_else(missing)
    }

    fn fill_pool(&self) -> Result<bool, Error> {
        evenkeel_drivers::fill_pool(&self.setup())
    }

    fn image(&self) -> Option<String> {
        let any = |software| {
            let found = image::any(software, &self.images_dir);
            found.inspect_err(|error| tracing::debug!(error = crate::chain(error))).ok()
        };
        let (server, pooler) = (any(Software::Postgres), any(Software::PgBouncer));
        let backrest = any(Software::PgBackRest);
        let mut setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        (setup.image, setup.pooler_image, setup.backrest_image) = (server, pooler, backrest);
        setup.image.as_ref().map(|image| image.digest.to_string())
    }

    fn version(&self) -> Option<String> {
        let major = self.setup().image?.major();
        let major = major.inspect_err(|error| tracing::debug!(error = crate::chain(error)));
        Some(major.ok()?.to_string())
    }
}
