//! The behaviour tests: each file is named for what a user may rely on.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail their test")]
#![expect(clippy::print_stdout, reason = "seeds and figures belong to a test's output")]

mod analytics;
mod bench;
mod commands;
mod compose;
mod config;
mod contracts;
mod convergence;
mod counters;
mod damaged;
mod demo_screen;
mod durability;
mod exactly_once;
mod fencing;
mod flood;
mod handbook;
mod http_door;
mod http_ingest;
mod http_memory;
mod kafka;
mod kafka_commands;
mod kinesis;
mod kinesis_process;
mod leases;
mod lookup;
mod migrations;
mod order_vectors;
mod pace;
mod parts;
mod poison;
mod postgres_elsewhere;
mod postgres_errors;
mod readiness;
mod restored;
mod search;
mod seeded;
mod shutdown;
mod sqs_bridge;
mod sqs_process;
mod sqs_straight;
mod tidy;
mod tokens;
mod tune;
mod upgrades;
mod versions;
