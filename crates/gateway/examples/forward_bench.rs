//! What a gateway costs: throughput of one connection, and the round trip of one byte, each direct and
//! through it. Prints one line of JSON.
//!
//! `cargo run --release -p evenkeel-gateway --example forward_bench`

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use evenkeel_core::id::{MemberId, ServiceId, Term};
use evenkeel_core::route::{Route, Target};
use evenkeel_gateway::Options;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Bytes of one run of throughput.
const BYTES: u64 = 1 << 30;
/// Runs of throughput, whose median counts.
const RUNS: usize = 5;
/// Round trips, whose median counts; the first tenth is not counted.
const TRIPS: usize = 20_000;
/// Longest wait for the gateway to listen.
const START_MAX: Duration = Duration::from_secs(10);

/// What a client asks of the server with its first byte.
const ECHO: u8 = b'e';
const SINK: u8 = b's';

#[derive(Serialize)]
struct Figures {
    direct_gigabytes_per_second: f64,
    through_gigabytes_per_second: f64,
    direct_round_trip_microseconds: f64,
    through_round_trip_microseconds: f64,
    added_round_trip_microseconds: f64,
}

/// A member of its own would use another core; here server, gateway and client share the machine's, so
/// the figures are lower bounds.
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = TcpListener::bind((HERE, 0)).await?;
    let direct = server.local_addr()?;
    tokio::spawn(serve(server));

    // Free once it is dropped.
    let through = TcpListener::bind((HERE, 0)).await?.local_addr()?;
    let dir = tempfile::tempdir()?;
    let gateway = start(dir.path(), through.port(), direct.port())?;
    tokio::spawn(async move {
        if let Err(error) = gateway.await {
            eprintln!("the gateway ended: {error}");
        }
    });
    timeout(START_MAX, async {
        while TcpStream::connect(through).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await?;

    let direct_round_trip_microseconds = round_trip(direct).await?;
    let through_round_trip_microseconds = round_trip(through).await?;
    let figures = Figures {
        direct_gigabytes_per_second: throughput(direct).await?,
        through_gigabytes_per_second: throughput(through).await?,
        direct_round_trip_microseconds,
        through_round_trip_microseconds,
        added_round_trip_microseconds: through_round_trip_microseconds
            - direct_round_trip_microseconds,
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// A gateway that has its route from disk and no controller.
fn start(
    dir: &std::path::Path,
    port: u16,
    server: u16,
) -> io::Result<impl Future<Output = Result<(), evenkeel_gateway::Error>> + Send + 'static> {
    let target = Target { member: MemberId(1), address: HERE.to_string(), port: server };
    let (service, name, term) = (ServiceId(1), "bench".to_owned(), Term(1));
    let all = [Route { service, name, port, term, target: Some(target), holds: false }];
    let kept = serde_json::json!({ "version": 1, "routes": 1, "all": all });
    std::fs::write(dir.join("routes.json"), kept.to_string())?;
    let options = Options::new("bench".to_owned(), HERE, dir.into(), dir.join("controller.json"));
    Ok(evenkeel_gateway::run(options, std::future::pending()))
}

async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream));
    }
}

/// Echoes, or swallows everything and says so with one byte at its end.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.split();
    match reader.read_u8().await? {
        ECHO => tokio::io::copy(&mut reader, &mut writer).await.map(drop),
        _ => {
            let mut buffer = vec![0; 256 << 10];
            while reader.read(&mut buffer).await? > 0 {}
            writer.write_u8(SINK).await
        }
    }
}

async fn connect(at: SocketAddr, wish: u8) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    stream.write_u8(wish).await?;
    Ok(stream)
}

/// Median microseconds of one byte there and back.
async fn round_trip(at: SocketAddr) -> io::Result<f64> {
    let mut stream = connect(at, ECHO).await?;
    let mut trips = Vec::with_capacity(TRIPS);
    for _ in 0..TRIPS {
        let began = Instant::now();
        stream.write_u8(1).await?;
        stream.read_u8().await?;
        trips.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(trips.split_off(TRIPS / 10)))
}

/// Median gigabytes (10^9 bytes) a second from client to server, to the last byte read.
async fn throughput(at: SocketAddr) -> io::Result<f64> {
    let block = vec![7; 256 << 10];
    let mut rates = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let mut stream = connect(at, SINK).await?;
        let began = Instant::now();
        let mut sent = 0;
        while sent < BYTES {
            stream.write_all(&block).await?;
            sent += block.len() as u64;
        }
        stream.shutdown().await?;
        stream.read_u8().await?;
        rates.push(sent as f64 / 1e9 / began.elapsed().as_secs_f64());
    }
    Ok(median(rates))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
