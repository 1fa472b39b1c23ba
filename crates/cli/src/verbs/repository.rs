//! `repository`: where archives go.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use evenkeel_api::order::Accepted;
use evenkeel_api::{Client, NewRepository, RepositoryPage};
use evenkeel_core::backup::lineage::Bucket;
use evenkeel_core::goal::Password;

use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print;

/// Where log and backups go: list, add, show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel repository list
  evenkeel repository add second --directory /mnt/backups
  evenkeel repository add far --bucket backups/fleet-1 --endpoint https://s3.example.com --region eu-1
  evenkeel repository show second
  evenkeel repository remove second --confirm second

A bucket's keys are read from --credentials, else from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
The same repository added again with other keys gets those.")]
pub struct Repository {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every repository.
    List,
    /// Add one; every archive goes there too from now on, and any of them is enough.
    Add {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Have no archive go to one any more, nor come from there: it is lost for good, or was replaced. What
    /// is in it stays.
    Remove {
        /// Its name.
        name: String,
        /// Its name again.
        #[arg(long, value_name = "NAME", default_value = "")]
        confirm: String,
    },
    /// One of them.
    Show {
        /// Its name.
        name: String,
    },
}

/// Where a repository is, by flags.
#[derive(Debug, Args)]
pub struct Place {
    /// A directory that every host sees under this path; it is made where it is not there, and must be the
    /// fleet's user's.
    #[arg(long, value_name = "DIR", required_unless_present = "bucket", conflicts_with = "bucket")]
    pub directory: Option<PathBuf>,
    /// A bucket of object storage that speaks S3; everything is put below PREFIX.
    #[arg(long, value_name = "BUCKET[/PREFIX]", requires = "endpoint")]
    pub bucket: Option<String>,
    /// The object storage's server: https://host[:port].
    #[arg(long, value_name = "URL", requires = "bucket")]
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    #[arg(long, default_value = "us-east-1")]
    pub region: String,
    /// The bucket is part of the server's name, and not of the path.
    #[arg(long, requires = "bucket")]
    pub virtual_host: bool,
    /// Certificates to believe instead of the public ones, as PEM.
    #[arg(long, value_name = "FILE", requires = "bucket")]
    pub ca: Option<PathBuf>,
    /// A file with lines `aws_access_key_id = ...` and `aws_secret_access_key = ...`.
    #[arg(long, value_name = "FILE", requires = "bucket")]
    pub credentials: Option<PathBuf>,
}

impl Place {
    /// The repository of this name that the flags describe.
    pub fn named(&self, name: &str) -> Result<NewRepository, Failure> {
        let mut new = NewRepository { name: name.to_owned(), ..NewRepository::default() };
        if let Some(directory) = &self.directory {
            new.directory = Some(std::path::absolute(directory)?.display().to_string());
        }
        if let Some(bucket) = &self.bucket {
            let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
            let (access_key, secret_key) = self.keys()?;
            let read =
                |path: &PathBuf| fs::read_to_string(path).map_err(|error| about(path, &error));
            new.bucket = Some(Bucket {
                endpoint: self.endpoint.clone().unwrap_or_default(),
                bucket: bucket.to_owned(),
                prefix: prefix.trim_matches('/').to_owned(),
                region: self.region.clone(),
                virtual_host: self.virtual_host,
                access_key,
                secret_key: Password(secret_key),
                ca: self.ca.as_ref().map(read).transpose()?,
            });
        }
        Ok(new)
    }

    /// The access key's id and the secret key; never arguments, which every process can read.
    fn keys(&self) -> Result<(String, String), Failure> {
        const NAMES: [&str; 2] = ["aws_access_key_id", "aws_secret_access_key"];
        let [id, secret] = match &self.credentials {
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| about(path, &error))?;
                NAMES.map(|name| {
                    let mut lines = text.lines().filter_map(|line| line.split_once('='));
                    lines
                        .find(|(key, _)| key.trim() == name)
                        .map(|(_, value)| value.trim().to_owned())
                })
            }
            None => NAMES.map(|name| std::env::var(name.to_uppercase()).ok()),
        };
        id.zip(secret).ok_or_else(|| {
            let text = "a bucket needs keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name \
                        a file that has both with --credentials";
            Failure::new(Kind::Usage, text.to_owned())
        })
    }
}

fn about(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Kind::Failed, format!("{}: {error}", path.display()))
}

impl Repository {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match &self.verb {
            Verb::List => list(context, &client.repositories()?),
            Verb::Show { name } => {
                let all = client.repositories()?;
                let Some(found) = all.into_iter().find(|repository| repository.name == *name)
                else {
                    let text = format!(
                        "no repository is named {name:?}; `evenkeel repository list` shows those there are"
                    );
                    return Err(Failure::new(Kind::NotFound, text));
                };
                if context.json {
                    return print::json(&found);
                }
                list(context, &[found])
            }
            Verb::Remove { name, confirm } => {
                let accepted = client.remove_repository(name, confirm)?;
                if context.json {
                    return print::json(&accepted);
                }
                print::line(&accepted.text);
                Ok(())
            }
            Verb::Add { name, place } => {
                let new = place.named(name)?;
                if let Some(directory) = &new.directory {
                    give_to_fleet(context, directory.as_ref())?;
                }
                let accepted = add(&client, &new)?;
                if context.json {
                    return print::json(&accepted);
                }
                print::line(&accepted.text);
                Ok(())
            }
        }
    }
}

/// Has the fleet make a place a repository: its own user does, who writes to it.
pub fn add(client: &Client, new: &NewRepository) -> Result<Accepted, Failure> {
    new.location().map_err(|text| Failure::new(Kind::Usage, text))?;
    Ok(client.add_repository(new)?)
}

/// Root makes a directory that is not there for the fleet's user, who may not make one everywhere: as `up`
/// gives that user its own. One that is there stays whose it is.
fn give_to_fleet(context: &Context, directory: &Path) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() || directory.exists() {
        return Ok(());
    }
    // Of a fleet elsewhere nothing is known here; its controller makes the directory, or says why not.
    let Ok(owner) = fs::metadata(context.data()) else { return Ok(()) };
    // Only the last is that user's alone: it has to get through those above.
    let above = directory.parent().map_or(Ok(()), fs::create_dir_all);
    let made = above.and_then(|()| fs::DirBuilder::new().mode(0o700).create(directory));
    if made.is_err() {
        // Why it cannot be made is the controller's to say, with the repository's name.
        return Ok(());
    }
    let given = chown(directory, Some(owner.uid()), Some(owner.gid()));
    given.map_err(|error| about(directory, &error))
}

fn list(context: &Context, all: &[RepositoryPage]) -> Result<(), Failure> {
    if context.json {
        return print::json(&all);
    }
    let head = ["REPOSITORY", "PLACE", "STORE SAVED"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let saved = |r: &RepositoryPage| match (&r.store_saved_at, &r.store_trouble) {
        (at, Some(why)) => format!("{}, failing {why}", at.as_deref().unwrap_or("never")),
        (at, None) => at.clone().unwrap_or_else(|| "not yet".to_owned()),
    };
    let row = |r: &RepositoryPage| vec![r.name.clone(), r.place.clone(), saved(r)];
    rows.extend(all.iter().map(row));
    print::table(&rows);
    Ok(())
}
