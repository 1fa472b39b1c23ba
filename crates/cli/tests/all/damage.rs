//! Damaged stores, full disks, two controllers, wrong tokens, missing software.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fleet::{BINARY, Fleet, Ledger, free_port, new_data, root, software, until};

/// Runs `up` until it ends by itself; its exit code and what it said.
fn up_refused(data: &std::path::Path, listen: &str) -> (i32, String) {
    let mut child = Command::new(BINARY)
        .args(["up", "--hosts", "1", "--listen", listen])
        .env("EVENKEEL_DATA", data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut status = None;
    until(60, "up refuses", || {
        status = child.try_wait().expect("it is ours");
        status.is_some()
    });
    let mut said = String::new();
    let mut pipe = child.stderr.take().expect("piped");
    std::io::Read::read_to_string(&mut pipe, &mut said).expect("text");
    (status.and_then(|s| s.code()).expect("it ended by itself"), said)
}

#[test]
fn a_damaged_store_is_refused_by_name_and_its_copy_serves() {
    if !software("a_damaged_store_is_refused_by_name_and_its_copy_serves") {
        return;
    }
    let mut fleet = Fleet::start("damage", &["--hosts", "1"]);
    fleet.create("orders");
    fleet.interrupt_up();
    // A clean start leaves a copy of all that was recorded so far.
    fleet.up(&["--hosts", "1"]);
    fleet.interrupt_up();
    let store = fleet.data.join("controller/store.db");
    let whole = fs::read(&store).expect("readable");
    fs::write(&store, &whole[..whole.len() / 2]).expect("writable");
    let (code, said) = up_refused(&fleet.data, &fleet.listen);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("damaged") && said.contains("store.db.good"), "{said}");
    let (code, said) = fleet.fails(&["store", "verify"]);
    assert_eq!(code, 7, "{said}");
    let (code, _) = fleet.fails(&["doctor"]);
    assert_eq!(code, 7);
    fs::write(
        &store,
        b"not a store at all, but longer than the header of one would be: ".repeat(20),
    )
    .expect("writable");
    let (code, said) = up_refused(&fleet.data, &fleet.listen);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("not a store of Evenkeel"), "{said}");
    fs::copy(fleet.data.join("controller/store.db.good"), &store).expect("the copy is there");
    for rest in ["store.db-wal", "store.db-shm"] {
        let _ = fs::remove_file(fleet.data.join("controller").join(rest));
    }
    assert!(fleet.ok(&["store", "verify"]).contains("are sound"));
    assert!(fleet.ok(&["store", "dump"]).contains("\"orders\""));
    fleet.sql_is_served();
}

impl Fleet {
    /// The service created before serves, with no controller at all.
    fn sql_is_served(&self) {
        let routes = fs::read_to_string(self.data.join("gateways/h1/routes.json")).expect("kept");
        let routes: serde_json::Value = serde_json::from_str(&routes).expect("JSON");
        let port = routes["all"][0]["port"].as_u64().expect("a route");
        let url = format!("postgresql://orders:wrong@127.0.0.1:{port}/orders");
        let said = crate::fleet::sql(&url, "SELECT 1").expect_err("a wrong password");
        assert!(said.contains("password authentication failed"), "{said}");
    }
}

#[test]
fn one_fleet_a_directory_one_controller_a_port_and_only_with_its_token() {
    if !software("one_fleet_a_directory_one_controller_a_port_and_only_with_its_token") {
        return;
    }
    let fleet = Fleet::start("two", &["--hosts", "1"]);
    let (code, said) = up_refused(&fleet.data, &format!("127.0.0.1:{}", free_port()));
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("already (process"), "{said}");
    let other = new_data("other");
    let (code, said) = up_refused(&other, &fleet.listen);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&fleet.listen) && said.contains("--listen"), "{said}");
    let _ = fs::remove_dir_all(&other);
    let token = fleet.data.with_extension("token");
    fs::write(&token, "wrong").expect("writable");
    let server = format!("http://{}", fleet.listen);
    let file = token.to_str().expect("text");
    let (code, said) = fleet.fails(&["list", "--server", &server, "--token-file", file]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("token"), "{said}");
    let _ = fs::remove_file(&token);
}

#[test]
fn a_full_disk_loses_nothing_and_heals_when_there_is_room() {
    on_a_small_disk("a_full_disk_loses_nothing_and_heals_when_there_is_room", 420, fill_and_heal);
}

/// Runs a test in a file system of its own, of so many MiB.
pub fn on_a_small_disk(name: &str, mib: u32, test: fn(&std::path::Path)) {
    on_a_disk(name, &new_data("full"), mib, test);
}

/// The same at a place of its own, which is left as an empty directory.
pub fn on_a_disk(name: &str, mount: &std::path::Path, mib: u32, test: fn(&std::path::Path)) {
    if !root(name) || !software(name) {
        return;
    }
    fs::create_dir_all(mount).expect("writable");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0755"), "tmpfs"])
        .arg(mount)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        println!("1 not run: no file system can be mounted here ({name})");
        return;
    }
    let tested = std::panic::catch_unwind(|| test(mount));
    let gone = Command::new("umount").arg(mount).status().is_ok_and(|status| status.success());
    let _ = fs::remove_dir(mount);
    if let Err(panic) = tested {
        std::panic::resume_unwind(panic);
    }
    assert!(gone, "the test's own file system is taken away");
}

/// The user and group that a fleet started by root runs as, made as the fleet makes it.
pub fn owner(of: &std::path::Path) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let ids = || {
        let users = fs::read_to_string("/etc/passwd").expect("readable");
        let line = users.lines().find(|line| line.starts_with("evenkeel:"))?.to_owned();
        let fields: Vec<u32> =
            line.split(':').skip(2).take(2).filter_map(|n| n.parse().ok()).collect();
        Some((fields[0], fields[1]))
    };
    // One that has its directory already says it by that.
    let found = fs::metadata(of).ok().filter(|found| found.uid() != 0);
    found.map(|found| (found.uid(), found.gid())).or_else(ids).unwrap_or_else(|| {
        let arguments = ["--system", "--user-group", "--no-create-home", "--shell"];
        let mut made = Command::new("useradd");
        let made = made.args(arguments).args(["/usr/sbin/nologin", "evenkeel"]).status();
        assert!(made.is_ok_and(|status| status.success()), "root may");
        ids().expect("it was made")
    })
}

fn fill_and_heal(mount: &std::path::Path) {
    let fleet = Fleet::start_in(mount.join("data"), &["--hosts", "1", "--pool", "0"]);
    fleet.create("orders");
    let ledger = Ledger::start(&fleet, "orders");
    let ballast = mount.join("ballast");
    // What the agent gives up of its own room for this moment is taken too. What cannot be recorded is not
    // acted on then, and that is said.
    let mut tries = 0;
    until(90, "nothing can be recorded", || {
        let filled = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k", "oflag=append", "conv=notrunc"])
            .arg(format!("of={}", ballast.display()))
            .stderr(Stdio::null())
            .status();
        assert!(filled.is_ok_and(|status| !status.success()), "dd fills it and says so");
        tries += 1;
        let out = fleet.run(&["create", "postgres", &format!("more{tries}"), "--timeout", "5"]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        out.status.code() == Some(1) && said.contains("record") && said.contains("space")
    });
    fs::remove_file(&ballast).expect("its own");
    until(90, "it serves again", || {
        fleet.state("orders") == "available"
            && fleet.sql("orders", "SELECT count(*) FROM ledger").is_ok()
    });
    ledger.check(&fleet, "orders");
}

#[test]
fn without_postgres_and_network_it_says_what_to_do() {
    let name = "without_postgres_and_network_it_says_what_to_do";
    if !root(name) {
        return;
    }
    let data = new_data("bare");
    let script = format!(
        "mount -t tmpfs none /usr/lib/postgresql 2>/dev/null; mount -t tmpfs none /usr/local/bin; \
         exec {BINARY} up --hosts 1 --listen 127.0.0.1:{} --data {}",
        free_port(),
        data.display()
    );
    let out = Command::new("unshare").args(["-m", "-n", "sh", "-c", &script]).output();
    let Ok(out) = out else {
        println!("1 not run: no namespaces here ({name})");
        return;
    };
    let said = String::from_utf8_lossy(&out.stderr);
    if said.contains("unshare failed") {
        println!("1 not run: no namespaces here ({name})");
        return;
    }
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("not installed here; fetching"), "{said}");
    assert!(said.contains("network"), "{said}");
    let _ = fs::remove_dir_all(&data);
}

#[test]
fn a_disk_that_stalls_for_two_seconds_moves_nothing() {
    let name = "a_disk_that_stalls_for_two_seconds_moves_nothing";
    if !software(name) || !root(name) {
        return;
    }
    let mount = new_data("stall");
    let file = mount.with_extension("ext4");
    fs::create_dir_all(&mount).expect("made");
    let script = format!(
        "truncate -s 3G {0} && mkfs.ext4 -q {0} && mount -o loop {0} {1} && chmod 755 {1}",
        file.display(),
        mount.display()
    );
    let made = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("1 not run: no file system can be made in a file ({name})");
        let _ = fs::remove_file(&file);
        return;
    }
    let tested = std::panic::catch_unwind(|| stall(&mount));
    let gone = Command::new("umount").arg(&mount).status().is_ok_and(|status| status.success());
    let _ = fs::remove_dir(&mount);
    let _ = fs::remove_file(&file);
    if let Err(panic) = tested {
        std::panic::resume_unwind(panic);
    }
    assert!(gone, "the test's own file system is taken away");
}

fn stall(mount: &std::path::Path) {
    let fleet = Fleet::start_in(mount.join("data"), &[]);
    fleet.ok(&["create", "postgres", "pay", "--plan", "ha"]);
    let whole = || {
        let show = fleet.show("pay");
        show["failover"]["safe_now"] == true && show["operation"].is_null()
    };
    until(60, "its standby is counted on", whole);
    let before = fleet.show("pay");
    let ledger = Ledger::start(&fleet, "pay");
    let freeze = |how: &str| {
        let ran = Command::new("fsfreeze").arg(how).arg(mount).status();
        assert!(ran.is_ok_and(|status| status.success()), "fsfreeze {how}");
    };
    freeze("-f");
    let frozen = Instant::now();
    until(60, "the disk stalls for two seconds", || frozen.elapsed() > Duration::from_secs(2));
    freeze("-u");
    until(60, "its standby is counted on", whole);
    ledger.check(&fleet, "pay");
    let now = fleet.show("pay");
    assert_eq!(now["term"], before["term"], "nobody was promoted");
    assert_eq!(now["members"][0]["pid"], before["members"][0]["pid"], "nothing was started again");
}
