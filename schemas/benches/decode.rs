//! Time per event of decoding and splitting, for a MinIO notification of about 1.1 KB and an AWS one:
//! `cargo bench -p millstream-schemas`.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use millstream_schemas::objects::{Decoded, decode};
use millstream_schemas::{Input, Limits, Piece, split};

const PUBLISHED_AT_MS: i64 = 1_773_367_677_000;

/// Best of 500 rounds of about a millisecond: short enough that some are not interrupted on a busy machine.
fn best(events_per_call: usize, bytes_per_call: usize, name: &str, mut call: impl FnMut()) {
    let calls = (500 / events_per_call).max(1);
    let round = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed()
    };
    let best = (0..500).map(|_| round(&mut call)).min().unwrap_or(Duration::ZERO);
    let events = calls * events_per_call;
    let us_per_event = best.as_secs_f64() * 1e6 / events as f64;
    let mib_per_s = (calls * bytes_per_call) as f64 / best.as_secs_f64() / f64::from(1 << 20);
    println!("{name:<28} {us_per_event:6.3} us/event  {mib_per_s:7.0} MiB/s  {bytes_per_call} bytes");
}

fn main() {
    let limits = Limits::default();
    let minio = include_str!("../fixtures/minio.json").trim();
    let aws = include_str!("../fixtures/captured/ministack-s3-objectcreated-put.json");
    let sns = include_str!("../fixtures/sns.json");
    for (name, text) in [("decode minio", minio), ("decode aws, indented", aws), ("decode aws in sns", sns)] {
        let input =
            Input { payload: text.as_bytes(), headers: &[], published_at_ms: PUBLISHED_AT_MS + 86_400_000 * 365 };
        best(1, text.len(), name, || {
            decode(black_box(input), &limits, &mut |decoded| {
                assert!(matches!(black_box(decoded), Decoded::Event(_)));
            });
        });
    }
    let lines = [minio; 100].join("\n");
    let array = format!("[{}]", [minio; 100].join(","));
    for (name, body, media_type) in
        [("split 100 lines", &lines, "application/x-ndjson"), ("split array of 100", &array, "application/json")]
    {
        best(100, body.len(), name, || {
            split(black_box(body.as_bytes()), media_type, &limits, &mut |piece| {
                assert!(matches!(black_box(piece), Piece::Record { .. }));
            });
        });
    }
    best(1, minio.len(), "split one", || {
        split(black_box(minio.as_bytes()), "application/json", &limits, &mut |piece| {
            assert!(matches!(black_box(piece), Piece::Record { .. }));
        });
    });
}
