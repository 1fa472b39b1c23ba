//! The owner's role and database, made to be as the goal says.

use std::time::Duration;

use evenkeel_core::driver::Error;
use evenkeel_core::goal::{Goal, Role};
use tokio_postgres::Client;

use super::session::config;
use crate::Setup;
use crate::sql::{connect, in_words, runtime};

/// All of it takes a fraction of a second on a server that is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an owner is not (DESIGN 12): a superuser, a maker of roles, a reader of other servers' log.
pub const LIMITS: &str =
    "LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS INHERIT";

/// Makes roles and databases as the goal wants them; safe to repeat.
pub fn prepare(setup: &Setup, goal: &Goal) -> Result<(), Error> {
    let config = config(setup, goal, "evenkeel", "evenkeel");
    let work = async {
        let client = connect(config).await?;
        // What standbys need to follow cannot wait for standbys.
        client.batch_execute("SET synchronous_commit = local").await?;
        if goal.has_siblings() {
            followers(&client, goal).await?;
        }
        for login in &goal.logins {
            let role = identifier(&login.role);
            let known = client
                .query_opt("SELECT FROM pg_catalog.pg_roles WHERE rolname = $1", &[&login.role])
                .await?;
            let verb = if known.is_some() { "ALTER" } else { "CREATE" };
            let verifier = literal(&login.verifier);
            let role_is = format!("{verb} ROLE {role} WITH {LIMITS} PASSWORD {verifier}");
            client.batch_execute(&role_is).await?;
        }
        look_at_files(&client).await?;
        let Some(owner) = goal.logins.first() else { return Ok(()) };
        let name = goal.owner();
        let (database, owner) = (identifier(name), identifier(&owner.role));
        let known = client
            .query_opt("SELECT FROM pg_catalog.pg_database WHERE datname = $1", &[&name])
            .await?;
        if known.is_none() {
            client.batch_execute(&format!("CREATE DATABASE {database} OWNER {owner}")).await?;
        }
        let only_owner = format!(
            "ALTER DATABASE {database} OWNER TO {owner}; REVOKE ALL ON DATABASE {database} FROM PUBLIC; \
             GRANT CONNECT ON DATABASE {database} TO evenkeel_probe"
        );
        client.batch_execute(&only_owner).await
    };
    let limited = runtime().block_on(async { tokio::time::timeout(PATIENCE, work).await });
    let limit_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    limited
        .map_err(|_| Error::Deadline { what: "making the database".to_owned(), limit_ms })?
        .map_err(|error| Error::Failed(in_words(&error)))
}

/// A server made by an earlier release does not let checks look at its files of settings yet.
async fn look_at_files(client: &Client) -> Result<(), tokio_postgres::Error> {
    let look =
        "SELECT pg_catalog.has_table_privilege('evenkeel_probe', 'pg_file_settings', 'SELECT')";
    if client.query_one(look, &[]).await?.get(0) {
        return Ok(());
    }
    let grant = "GRANT SELECT ON pg_catalog.pg_file_settings TO evenkeel_probe; \
                 GRANT EXECUTE ON FUNCTION pg_catalog.pg_show_all_file_settings() TO evenkeel_probe";
    client.batch_execute(grant).await
}

/// Roles and slots of the copies that may replicate from here, and of no others.
async fn followers(client: &Client, goal: &Goal) -> Result<(), tokio_postgres::Error> {
    let Role::Primary { followers, .. } = &goal.role else { return Ok(()) };
    let names: Vec<&str> = followers.iter().map(|f| f.login.role.as_str()).collect();
    let known = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname ~ '^ek_m[0-9]'";
    let known: Vec<String> = client.query(known, &[]).await?.iter().map(|row| row.get(0)).collect();
    for login in followers.iter().map(|f| &f.login) {
        let role = identifier(&login.role);
        let verb = if known.contains(&login.role) { "ALTER" } else { "CREATE" };
        let verifier = literal(&login.verifier);
        let text = format!(
            "{verb} ROLE {role} WITH LOGIN REPLICATION PASSWORD {verifier}; \
             GRANT evenkeel_copy TO {role}"
        );
        client.batch_execute(&text).await?;
    }
    let drop = "SELECT pg_catalog.pg_drop_replication_slot(slot_name) \
                FROM pg_catalog.pg_replication_slots \
                WHERE slot_name ~ '^ek_m[0-9]' AND NOT active AND slot_name <> ALL($1)";
    client.query(drop, &[&names]).await?;
    let make = "SELECT pg_catalog.pg_create_physical_replication_slot(name, true) \
                FROM pg_catalog.unnest($1::text[]) AS name \
                WHERE name NOT IN (SELECT slot_name FROM pg_catalog.pg_replication_slots)";
    client.query(make, &[&names]).await?;
    for role in known.iter().filter(|role| !names.contains(&role.as_str())) {
        client.batch_execute(&format!("DROP ROLE {}", identifier(role))).await?;
    }
    Ok(())
}

pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub fn literal(text: &str) -> String {
    // Verifiers have no backslash; with standard strings one would mean nothing.
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_end_their_quotes() {
        assert_eq!(identifier("a\"; DROP ROLE x"), "\"a\"\"; DROP ROLE x\"");
        assert_eq!(literal("a'; --"), "'a''; --'");
    }
}
