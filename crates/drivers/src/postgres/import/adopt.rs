//! A copied server made the service's own.
//!
//! The first superuser of every server cannot be taken away; it becomes Evenkeel's, and under its old name
//! a role without its powers goes on. What it owned is the owner's. Every other superuser loses what no
//! owner has; nobody keeps a way to files or programs of the host.

use evenkeel_core::driver::Error;
use evenkeel_core::goal::Goal;
use tokio_postgres::Client;

use super::look::Look;
use super::own::{HELPER, Own};
use crate::postgres::make::OWN;
use crate::postgres::prepare::{identifier, literal};

type Asked<T> = Result<T, tokio_postgres::Error>;

/// Statements in one transaction: each holds locks until its end.
const BATCH: usize = 200;

/// Roles that may do what no owner may.
const MIGHTY: &str = "SELECT rolname::text FROM pg_roles WHERE oid <> 10 AND rolname <> 'ek_import' \
    AND (rolsuper OR rolreplication OR rolcreaterole) ORDER BY 1";

/// Who is a member of the first superuser, or of a role that reaches the host.
const MEMBERS: &str = "SELECT r.rolname::text, m.rolname::text, g.rolname::text \
    FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member \
    LEFT JOIN pg_roles g ON g.oid = a.grantor \
    WHERE r.oid = 10 OR r.rolname IN ('pg_read_server_files', 'pg_write_server_files', \
        'pg_execute_server_program') ORDER BY 1, 2";

/// Everything in a database that the first superuser owns and that no extension or system does, as
/// statements that give it to another.
const OWNED: &str = "
WITH mine AS (
  SELECT 'pg_class'::regclass AS class, c.oid, CASE c.relkind WHEN 'v' THEN 'VIEW'
    WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE'
    ELSE 'TABLE' END || ' ' || c.oid::regclass AS what
  FROM pg_class c WHERE c.relowner = 10 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
      AND d.objid = c.oid AND d.objsubid = 0 AND c.relkind = 'S' AND d.deptype IN ('a', 'i'))
  UNION ALL SELECT 'pg_proc'::regclass, oid, 'ROUTINE ' || oid::regprocedure FROM pg_proc
    WHERE proowner = 10
  UNION ALL SELECT 'pg_type'::regclass, t.oid, 'TYPE ' || t.oid::regtype FROM pg_type t
    WHERE t.typowner = 10 AND t.typcategory <> 'A' AND (t.typtype IN ('b', 'd', 'e', 'r')
      OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
  UNION ALL SELECT 'pg_namespace'::regclass, oid, format('SCHEMA %I', nspname) FROM pg_namespace
    WHERE nspowner = 10 AND nspname !~ '^pg_'
  UNION ALL SELECT 'pg_collation'::regclass, c.oid, format('COLLATION %I.%I', n.nspname, collname)
    FROM pg_collation c JOIN pg_namespace n ON n.oid = collnamespace WHERE collowner = 10
  UNION ALL SELECT 'pg_conversion'::regclass, c.oid, format('CONVERSION %I.%I', n.nspname, conname)
    FROM pg_conversion c JOIN pg_namespace n ON n.oid = connamespace WHERE conowner = 10
  UNION ALL SELECT 'pg_operator'::regclass, oid, 'OPERATOR ' || oid::regoperator FROM pg_operator
    WHERE oprowner = 10
  UNION ALL SELECT 'pg_opclass'::regclass, c.oid, format('OPERATOR CLASS %I.%I USING %I',
      n.nspname, opcname, m.amname)
    FROM pg_opclass c JOIN pg_namespace n ON n.oid = opcnamespace JOIN pg_am m ON m.oid = opcmethod
    WHERE opcowner = 10
  UNION ALL SELECT 'pg_opfamily'::regclass, c.oid, format('OPERATOR FAMILY %I.%I USING %I',
      n.nspname, opfname, m.amname)
    FROM pg_opfamily c JOIN pg_namespace n ON n.oid = opfnamespace JOIN pg_am m ON m.oid = opfmethod
    WHERE opfowner = 10
  UNION ALL SELECT 'pg_ts_dict'::regclass, c.oid, format('TEXT SEARCH DICTIONARY %I.%I',
      n.nspname, dictname)
    FROM pg_ts_dict c JOIN pg_namespace n ON n.oid = dictnamespace WHERE dictowner = 10
  UNION ALL SELECT 'pg_ts_config'::regclass, c.oid, format('TEXT SEARCH CONFIGURATION %I.%I',
      n.nspname, cfgname)
    FROM pg_ts_config c JOIN pg_namespace n ON n.oid = cfgnamespace WHERE cfgowner = 10
  UNION ALL SELECT 'pg_statistic_ext'::regclass, c.oid, format('STATISTICS %I.%I',
      n.nspname, stxname)
    FROM pg_statistic_ext c JOIN pg_namespace n ON n.oid = stxnamespace WHERE stxowner = 10
  UNION ALL SELECT 'pg_publication'::regclass, oid, format('PUBLICATION %I', pubname)
    FROM pg_publication WHERE pubowner = 10 AND NOT puballtables
  UNION ALL SELECT 'pg_foreign_server'::regclass, oid, format('SERVER %I', srvname)
    FROM pg_foreign_server WHERE srvowner = 10
  UNION ALL SELECT 'pg_largeobject'::regclass, oid, 'LARGE OBJECT ' || oid
    FROM pg_largeobject_metadata WHERE lomowner = 10
)
SELECT format('ALTER %s OWNER TO %I', what, $1::text) FROM mine
WHERE (oid >= 16384 OR what = 'SCHEMA public' OR class = 'pg_largeobject'::regclass)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = mine.class AND d.objid = mine.oid
    AND d.deptype = 'e')";

/// Grants of functions of the system that nobody has by default: they read files, or more.
const GRANTED: &str = "
SELECT DISTINCT format('REVOKE ALL ON FUNCTION %s FROM %s CASCADE', p.oid::regprocedure,
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END)
FROM pg_proc p JOIN pg_init_privs i ON i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid
CROSS JOIN LATERAL aclexplode(p.proacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE p.oid < 16384 AND a.grantee <> 10 AND (a.grantee = 0 OR r.rolname !~ '^pg_')
  AND NOT EXISTS (SELECT FROM aclexplode(i.initprivs) b WHERE b.grantee = a.grantee)";

/// Takes a copied server over; what is other than it was, a sentence each.
pub fn adopt(own: &Own<'_>, look: &Look, goal: &Goal) -> Result<Vec<String>, Error> {
    let mut changes = own.with(HELPER, "template1", async |client| roles(client, goal).await)?;
    let database = look.database();
    let of = async |client: &Client| databases(client, database, goal).await;
    let names = own.with(HELPER, "template1", of)?;
    if database != goal.owner() {
        changes.push(format!("database {database} is {} now", goal.owner()));
    }
    for name in &names {
        let told = own.with(HELPER, name, async |client| within(client, goal).await)?;
        changes.extend(told.into_iter().map(|what| format!("in database {name}: {what}")));
    }
    own.with("evenkeel", "evenkeel", async |client| {
        client.batch_execute(OWN).await?;
        client.batch_execute("DROP ROLE ek_import").await
    })?;
    Ok(changes)
}

/// Roles: Evenkeel's, the owner's, and what others lose.
async fn roles(client: &Client, goal: &Goal) -> Asked<Vec<String>> {
    let mut changes = Vec::new();
    let boss = "SELECT rolname::text, rolpassword, rolcanlogin FROM pg_authid WHERE oid = 10";
    let boss = client.query_one(boss, &[]).await?;
    let (old, password): (String, Option<String>) = (boss.get(0), boss.get(1));
    for row in client.query(MEMBERS, &[]).await? {
        let (role, member): (String, String) = (row.get(0), row.get(1));
        let by: Option<String> = row.get(2);
        let by = by.map_or_else(String::new, |by| format!(" GRANTED BY {}", identifier(&by)));
        let (of, who) = (identifier(&role), identifier(&member));
        client.batch_execute(&format!("REVOKE {of} FROM {who}{by} CASCADE")).await?;
        changes.push(format!("role {member} is no member of {role} any more"));
    }
    let mighty = client.query(MIGHTY, &[]).await?;
    for name in mighty.iter().map(|row| row.get::<_, String>(0)) {
        let role = identifier(&name);
        let less = format!("ALTER ROLE {role} NOSUPERUSER NOREPLICATION NOCREATEROLE");
        client.batch_execute(&less).await?;
        changes.push(format!("role {name} has no SUPERUSER, REPLICATION or CREATEROLE any more"));
    }
    client
        .batch_execute(&format!(
            "ALTER ROLE {} RENAME TO evenkeel; ALTER ROLE evenkeel RESET ALL; \
             ALTER ROLE evenkeel LOGIN PASSWORD NULL VALID UNTIL 'infinity' CONNECTION LIMIT -1",
            identifier(&old)
        ))
        .await?;
    let owner = identifier(goal.owner());
    if is_there(client, goal.owner()).await? {
        changes
            .push(format!("role {} is the service's owner now, with its password", goal.owner()));
    } else {
        client.batch_execute(&format!("CREATE ROLE {owner} LOGIN")).await?;
    }
    if !is_there(client, &old).await? {
        let role = identifier(&old);
        let login = if boss.get(2) { "LOGIN" } else { "NOLOGIN" };
        let password = password.as_deref().map_or("NULL".to_owned(), literal);
        let text =
            format!("CREATE ROLE {role} {login} PASSWORD {password}; GRANT {owner} TO {role}");
        client.batch_execute(&text).await?;
    }
    changes.push(format!(
        "role {old} was the first superuser and is an ordinary role now; what it owned is {}'s",
        goal.owner()
    ));
    grants(client, goal.owner()).await?;
    changes.extend(weak_passwords(client).await?);
    Ok(changes)
}

async fn is_there(client: &Client, role: &str) -> Asked<bool> {
    let known = "SELECT FROM pg_roles WHERE rolname = $1";
    Ok(client.query_opt(known, &[&role]).await?.is_some())
}

/// The owner may do what every other role may.
async fn grants(client: &Client, owner: &str) -> Asked<()> {
    let others = "SELECT format('GRANT %I TO %I', rolname, $1::text) FROM pg_roles \
        WHERE oid >= 16384 AND rolname <> $1 AND rolname NOT IN ('ek_import') \
        AND NOT pg_has_role(oid, (SELECT oid FROM pg_roles WHERE rolname = $1), 'MEMBER')";
    for row in client.query(others, &[&owner]).await? {
        client.batch_execute(row.get(0)).await?;
    }
    Ok(())
}

/// Clients prove their passwords by SCRAM here.
async fn weak_passwords(client: &Client) -> Asked<Option<String>> {
    let weak = "SELECT string_agg(rolname, ', ' ORDER BY rolname) FROM pg_authid \
        WHERE rolpassword LIKE 'md5%'";
    let names: Option<String> = client.query_one(weak, &[]).await?.get(0);
    Ok(names.map(|names| {
        format!("roles with an MD5 password cannot log in before it is set anew: {names}")
    }))
}

/// Databases: the service's under its name, Evenkeel's; all that can be connected to.
async fn databases(client: &Client, database: &str, goal: &Goal) -> Asked<Vec<String>> {
    let owner = identifier(goal.owner());
    if database != goal.owner() {
        let old = identifier(database);
        client.batch_execute(&format!("ALTER DATABASE {old} RENAME TO {owner}")).await?;
    }
    let known = "SELECT FROM pg_database WHERE datname = $1";
    for (name, locale) in
        [("evenkeel", " LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"), ("postgres", "")]
    {
        if client.query_opt(known, &[&name]).await?.is_none() {
            let text = format!(
                "CREATE DATABASE {name} OWNER evenkeel TEMPLATE template0 ENCODING 'UTF8'{locale}"
            );
            client.batch_execute(&text).await?;
        }
    }
    // Everybody may connect to a source's database, and nobody to a service's who is not named.
    let entered = "SELECT format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', $1::text, rolname) \
        FROM pg_roles WHERE oid >= 16384 AND rolname NOT IN ($1, 'ek_import') \
        AND has_database_privilege(oid, $1::text, 'CONNECT')";
    for row in client.query(entered, &[&goal.owner()]).await? {
        client.batch_execute(row.get(0)).await?;
    }
    let own = "SELECT format('ALTER DATABASE %I OWNER TO %I', datname, $1::text) FROM pg_database \
        WHERE datdba = 10 AND oid >= 16384 AND datname NOT IN ('evenkeel', 'postgres') \
        AND NOT datistemplate";
    for row in client.query(own, &[&goal.owner()]).await? {
        client.batch_execute(row.get(0)).await?;
    }
    let open = "SELECT datname::text FROM pg_database WHERE datallowconn AND datname <> 'evenkeel' \
        ORDER BY 1";
    Ok(client.query(open, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// What is in one database.
async fn within(client: &Client, goal: &Goal) -> Asked<Vec<String>> {
    let mut changes = Vec::new();
    // They run whatever they are made to as whoever changes anything, which may be Evenkeel.
    let triggers = "SET allow_system_table_mods = on; UPDATE pg_event_trigger SET evtenabled = 'D'";
    client.batch_execute(triggers).await?;
    let names = "SELECT string_agg(evtname, ', ' ORDER BY evtname) FROM pg_event_trigger";
    if let Some(names) = client.query_one(names, &[]).await?.get::<_, Option<String>>(0) {
        changes.push(format!("event triggers are disabled: {names}"));
    }
    let owner = goal.owner();
    let owned = client.query(OWNED, &[&owner]).await?;
    let statements: Vec<String> = owned.iter().map(|row| row.get(0)).collect();
    for batch in statements.chunks(BATCH) {
        client.batch_execute(&batch.join(";\n")).await?;
    }
    let granted = client.query(GRANTED, &[]).await?;
    for statement in granted.iter().map(|row| row.get::<_, String>(0)) {
        client.batch_execute(&statement).await?;
        changes.push(format!("{statement}: it reaches the host"));
    }
    let subscriptions = "SELECT string_agg(subname, ', ') FROM pg_subscription \
        WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    if let Some(names) = client.query_one(subscriptions, &[]).await?.get::<_, Option<String>>(0) {
        changes.push(format!("subscriptions are disabled: {names}"));
    }
    changes.extend(stale_collation(client).await?);
    Ok(changes)
}

/// Texts are in another order than the indexes were made for, where the system's locales changed.
async fn stale_collation(client: &Client) -> Asked<Option<String>> {
    let release: i32 =
        client.query_one("SELECT current_setting('server_version_num')::int", &[]).await?.get(0);
    if release < 150_000 {
        return Ok(None);
    }
    let stale = "SELECT datcollversion, pg_database_collation_actual_version(oid) FROM pg_database \
        WHERE datname = current_database() \
        AND datcollversion <> pg_database_collation_actual_version(oid)";
    let Some(row) = client.query_opt(stale, &[]).await? else { return Ok(None) };
    let (was, is): (Option<String>, Option<String>) = (row.get(0), row.get(1));
    let (was, is) = (was.unwrap_or_default(), is.unwrap_or_default());
    Ok(Some(format!(
        "its collation was of version {was} and is of {is} here: REINDEX it, then ALTER DATABASE ... \
         REFRESH COLLATION VERSION"
    )))
}
