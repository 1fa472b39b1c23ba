//! Runs a scenario at scale and prints what it came to: `fleet_run NAME SERVICES [naive]`.
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let text = match evenkeel_sim::fleet::bundled(&args[1]) {
        Some(bundled) => bundled.text.to_owned(),
        None => std::fs::read_to_string(&args[1]).expect("a file"),
    };
    let script = evenkeel_sim::fleet::Script::parse(&args[1], &text).expect("it reads");
    let how = evenkeel_sim::fleet::How {
        services: args.get(2).and_then(|n| n.parse().ok()),
        seed: 7,
        naive: args.iter().any(|a| a == "naive"),
        threads: args.iter().find_map(|a| a.strip_prefix("threads=")?.parse().ok()).unwrap_or(0),
    };
    let began = std::time::Instant::now();
    let mut made = None;
    let outcome = evenkeel_sim::fleet::run(&script, &how, &mut |p| {
        if let evenkeel_sim::fleet::Progress::Running { at, down, .. } = p {
            if made.is_none() {
                made = Some(began.elapsed());
            }
            if at.0 % 1_800_000 < 60_000 {
                eprintln!("{:?} {at} down {down}", began.elapsed());
            }
        }
    });
    eprintln!("made {made:?} all {:?}", began.elapsed());
    println!("{:#?}", outcome.report);
    println!("{:#?}", outcome.account);
    for told in &outcome.timeline {
        println!("{} {}", told.at, told.text);
    }
    println!("{:#?}", outcome.decisions);
    println!(
        "worst {} healthy {:?} overloaded {} worst% {} folded {} starts {} promotions {} held {:?}",
        outcome.worst_outage_ms,
        outcome.healthy_at_ms,
        outcome.storage_overloaded_seconds,
        outcome.storage_worst_percent,
        outcome.notices_folded,
        outcome.starts,
        outcome.promotions,
        outcome.held()
    );
}
