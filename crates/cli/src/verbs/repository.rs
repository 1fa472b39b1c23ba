//! `repository`: where archives go.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use evenkeel_api::RepositoryPage;

use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print;

/// Where log and backups go: list, add, show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel repository list
  evenkeel repository add second --directory /mnt/backups
  evenkeel repository show second")]
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
        /// A directory that every host sees under this path; it is made where it is not there.
        #[arg(long, value_name = "DIR")]
        directory: PathBuf,
    },
    /// One of them.
    Show {
        /// Its name.
        name: String,
    },
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
            Verb::Add { name, directory } => {
                let directory = std::path::absolute(directory)?;
                found(name, &directory)?;
                let directory = directory.display().to_string();
                let new = RepositoryPage { name: name.clone(), directory };
                let accepted = client.add_repository(&new)?;
                if context.json {
                    return print::json(&accepted);
                }
                print::line(&accepted.text);
                Ok(())
            }
        }
    }
}

/// Makes a directory a repository.
pub fn found(name: &str, directory: &std::path::Path) -> Result<(), Failure> {
    evenkeel_drivers::backup::repository::found(name, directory)
        .map_err(|error| Failure::new(Kind::Failed, error.to_string()))
}

fn list(context: &Context, all: &[RepositoryPage]) -> Result<(), Failure> {
    if context.json {
        return print::json(&all);
    }
    let mut rows = vec![vec!["REPOSITORY".to_owned(), "PLACE".to_owned()]];
    let row = |r: &RepositoryPage| vec![r.name.clone(), format!("directory {}", r.directory)];
    rows.extend(all.iter().map(row));
    print::table(&rows);
    Ok(())
}
