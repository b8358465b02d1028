//! `/metrics` as OpenMetrics: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
//!
//! Names are `millstream_<stage>_<noun>_<unit>[_total]`. Labels take few values: pipelines, partitions, reasons and
//! outcomes of closed lists, the first names of filtered events, routes and statuses; never a key, a store or a client.
//! Requests are counted as they happen; everything else is read from the pipelines at each scrape, so that counting
//! costs nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::{HeaderName, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use millstream_engine::Snapshot;
use millstream_engine::histogram::Reading;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::access::Access;
use super::counts::{RequestLabels, RouteLabel};
use super::health::{self, Purpose};
use super::judge::{self, State as Judged};
use super::lag::lag_seconds;
use super::problem::Problem;
use super::shared::{App, Shared};
use super::{process, status};
use crate::running::Running;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Counts and times a request.
pub(super) async fn measure(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", |path| path.as_str()).to_owned();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let began = Instant::now();
    let response = next.run(request).await;
    let labels = RequestLabels { route, method, status: response.status().as_u16() };
    app.counts.requests.get_or_create(&labels).inc();
    let route = RouteLabel { route: labels.route };
    app.counts.seconds.get_or_create(&route).observe(began.elapsed().as_secs_f64());
    response
}

/// All metrics, as text.
pub(super) async fn metrics(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let mut registry = Registry::default();
    if access.sees_everything() {
        registry.register_collector(Box::new(Everything(app)));
    } else {
        registry.register_collector(Box::new(Part(status::Part::of(&app, &access))));
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .map_err(|error| Problem::unavailable("metrics", "the metrics cannot be written", error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
}

#[derive(Debug)]
struct Everything(Arc<App>);

impl Collector for Everything {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        self.ready(&mut out)?;
        self.requests(&mut out)?;
        self.pipelines(&mut out)?;
        self.controller(&mut out)?;
        self.routes(&mut out)?;
        let usage = process::usage();
        if let Some(bytes) = usage.resident_bytes {
            out.gauge("process_resident_memory_bytes", "Resident memory of the process", [(vec![], bytes as f64)])?;
        }
        if let Some(seconds) = usage.cpu_seconds {
            out.counter("process_cpu_seconds", "Processor time of the process", [(vec![], seconds)])?;
        }
        Ok(())
    }
}

/// What a limited token sees.
#[derive(Debug)]
struct Part(status::Part);

impl Collector for Part {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        if let Some(http) = &self.0.http {
            let outcome = |outcome: &str, count: u64| (vec![("outcome", outcome.to_owned())], count as f64);
            let events = [outcome("accepted", http.accepted_events), outcome("refused", http.refused_events)];
            out.counter("millstream_http_events", "Events received for the store of this token", events)?;
        }
        if let Some(totals) = &self.0.postgres.totals {
            let objects = [(vec![], totals.objects as f64)];
            out.gauge("millstream_store_objects", "Current objects in the store of this token", objects)?;
        }
        let ages = self
            .0
            .pipelines
            .iter()
            .filter_map(|pipeline| Some((vec![("pipeline", pipeline.name.clone())], pipeline.lag_seconds?)));
        out.gauge("millstream_source_lag_seconds", "Age of the oldest record that is not in the tables", ages)
    }
}

/// Names and values of labels, and a value.
type Sample = (Vec<(&'static str, String)>, f64);

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counter(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        each(metric, samples, |value, metric| ConstCounter::new(value).encode(metric))
    }

    fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        each(metric, samples, |value, metric| ConstGauge::new(value).encode(metric))
    }

    fn metric(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, None, metric.metric_type())?)
    }

    /// A histogram; `units` are the number of units of a reading in one exposed unit.
    fn histogram(&mut self, name: &str, help: &str, units: f64, readings: &[(String, Reading)]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (pipeline, reading) in readings {
            let labels = [("pipeline", pipeline.as_str())];
            reading_encode(reading, units, metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn each(
    mut metric: MetricEncoder<'_>,
    samples: impl IntoIterator<Item = Sample>,
    encode: impl Fn(f64, MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    for (labels, value) in samples {
        // The only sample of a metric without labels; `name{}` would be the same and look odd.
        if labels.is_empty() {
            return encode(value, metric);
        }
        encode(value, metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// What changed nothing, by reason and by name.
fn filtered(all: &[(usize, &Running, Snapshot)], out: &mut Out<'_>) -> fmt::Result {
    let label = |name: &str| ("pipeline", name.to_owned());
    let filtered = all.iter().flat_map(|(_, running, now)| {
        now.filtered.iter().map(|(reason, events)| {
            (vec![label(&running.config.name), ("reason", (*reason).to_owned())], *events as f64)
        })
    });
    out.counter("millstream_sink_filtered_events", "Events that rightly changed nothing", filtered)?;
    let named = all.iter().flat_map(|(_, running, now)| {
        now.named.iter().map(|one| {
            let labels =
                vec![label(&running.config.name), ("reason", one.reason.to_owned()), ("name", one.name.to_string())];
            (labels, one.events as f64)
        })
    });
    let help = "Events that rightly changed nothing, by the name that their emitter gives them, for the first names";
    out.counter("millstream_sink_filtered_named_events", help, named)
}

/// Every fourth bound, one for each doubling, is enough for a graph and keeps the page short.
fn reading_encode(reading: &Reading, units: f64, mut metric: MetricEncoder<'_>) -> fmt::Result {
    const STEP: usize = 4;
    let bounds = reading.cumulative().skip(STEP - 1).step_by(STEP);
    let mut before = 0;
    let mut buckets: Vec<(f64, u64)> = bounds
        .map(|(bound, seen)| {
            let inside = seen.saturating_sub(before);
            before = seen;
            (bound as f64 / units, inside)
        })
        .collect();
    buckets.push((f64::INFINITY, reading.count().saturating_sub(before)));
    metric.encode_histogram::<NoLabelSet>(reading.sum_ms as f64 / units, reading.count(), &buckets, None)
}

impl Everything {
    fn requests(&self, out: &mut Out<'_>) -> fmt::Result {
        let counts = &self.0.counts;
        out.metric("millstream_http_requests", "Requests answered", &counts.requests)?;
        out.metric(
            "millstream_http_request_seconds",
            "Time from the head of a request to its answer",
            &counts.seconds,
        )?;
        let outcome = |outcome: &str, count: &Counter| (vec![("outcome", outcome.to_owned())], count.get() as f64);
        let events = [outcome("accepted", &counts.accepted), outcome("refused", &counts.refused)];
        out.counter(
            "millstream_http_events",
            "Events received: accepted ones are on disk, refused ones were named",
            events,
        )?;
        let bytes = [(vec![], counts.body_bytes.get() as f64)];
        out.counter("millstream_http_body_bytes", "Bytes of request bodies, unpacked", bytes)?;
        let appends = [(vec![], self.0.appends_in_flight() as f64)];
        out.gauge("millstream_http_appends", "Requests that wait for the stream", appends)?;
        let (open, most) = self.0.places.open();
        out.gauge("millstream_http_connections", "Open connections", [(vec![], open as f64)])?;
        out.gauge("millstream_http_connections_max", "Connections that may be open", [(vec![], most as f64)])?;
        let ended = self.0.places.ended().map(|(reason, count)| (vec![("reason", reason.to_owned())], count as f64));
        let help = "Connections that were ended by this side: for lack of places, or because the client took too long";
        out.counter("millstream_http_connections_ended", help, ended)
    }

    /// The same judge as `/readyz`.
    fn ready(&self, out: &mut Out<'_>) -> fmt::Result {
        let ready = [("events", Purpose::Events), ("queries", Purpose::Queries)];
        let ready = ready.map(|(name, purpose)| {
            (vec![("for", name.to_owned())], f64::from(u8::from(health::is_ready(&self.0, purpose))))
        });
        out.gauge("millstream_ready", "1 if events are taken, or questions can be answered", ready)?;
        let app = &self.0;
        let is = |states: &dyn Fn(Judged) -> Vec<(&'static str, String)>, now: Judged| {
            Judged::ALL.map(|state| (states(state), f64::from(u8::from(state == now))))
        };
        let now = judge::whole(app);
        let whole = is(&|state| vec![("state", state.as_str().to_owned())], now.state);
        out.gauge("millstream_state", "1 for the state in which everything is", whole)?;
        let pipelines = app.node.pipelines.iter().enumerate().flat_map(|(index, running)| {
            let (now, lag_records, verdict) = running.look();
            let judged = judge::pipeline(app, index, running, (&now, lag_records, verdict));
            let label = ("pipeline", running.config.name.clone());
            is(&|state| vec![label.clone(), ("state", state.as_str().to_owned())], judged.state)
        });
        out.gauge("millstream_pipeline_state", "1 for the state in which a pipeline is", pipelines)?;
        let help = "1 if nobody has to do anything: it keeps up, catches up, is held by the operator, or drains";
        out.gauge("millstream_well", help, [(vec![], f64::from(u8::from(now.well)))])?;
        let help = "1 if the stream takes no events";
        let stopped = f64::from(u8::from(judge::stopped(app).is_some()));
        out.gauge("millstream_stream_stopped", help, [(vec![], stopped)])?;
        let reachable = f64::from(u8::from(app.looks.database().reachable));
        out.gauge("millstream_database_reachable", "1 if the database answered last", [(vec![], reachable)])
    }

    fn controller(&self, out: &mut Out<'_>) -> fmt::Result {
        let gate = &self.0.node.gate;
        let look = gate.look();
        let mut gauge = |name: &str, help: &str, value: f64| out.gauge(name, help, [(vec![], value)]);
        let pace = look.pace;
        gauge("millstream_controller_concurrency", "Transactions at a time that are allowed", pace.concurrency as f64)?;
        gauge("millstream_controller_records", "Records in a transaction that are allowed", pace.records as f64)?;
        let linger = pace.linger.as_secs_f64();
        gauge("millstream_controller_linger_seconds", "How long the oldest record waits for company", linger)?;
        gauge("millstream_controller_in_flight_transactions", "Transactions under way", look.in_flight as f64)?;
        let waiting = look.waiting as f64;
        gauge("millstream_controller_waiting_batches", "Batches that are ready and wait for a turn", waiting)?;
        let help = "Processes that write to the database, this one with them";
        gauge("millstream_controller_processes", help, look.processes as f64)?;
        let help = "1 if after a transaction nothing is begun for as long as it took, for the sake of others";
        gauge("millstream_controller_rests", help, f64::from(u8::from(pace.rests)))?;
        let help = "1 if the operator holds the pace where it is";
        gauge("millstream_controller_frozen", help, f64::from(u8::from(look.settings.freeze)))?;
        if let Some(ceiling) = look.ceiling {
            let help = "Transactions at a time that the database is believed to bear";
            gauge("millstream_controller_ceiling", help, ceiling as f64)?;
        }
        let decided = gate
            .tally()
            .into_iter()
            .map(|((knob, reason), times)| (vec![("knob", knob), ("reason", reason)], times as f64));
        out.counter("millstream_controller_decisions", "Changes of the pace", decided)
    }

    /// Nothing in a process that follows no routing tables.
    fn routes(&self, out: &mut Out<'_>) -> fmt::Result {
        let Some(serving) = &self.0.node.serving else { return Ok(()) };
        let routes = status::Routes::of(serving);
        let by = |label: &'static str, counts: Vec<(&'static str, f64)>| -> Vec<Sample> {
            counts.into_iter().map(|(value, count)| (vec![(label, value.to_owned())], count)).collect()
        };
        out.gauge("millstream_routes_applied_seq", "Number of the last applied change", [(vec![], routes.seq as f64)])?;
        if let Some(age) = routes.age_seconds {
            out.gauge("millstream_routes_age_seconds", "Since the route log was read to its end", [(vec![], age)])?;
        }
        if let Some(age) = routes.unread_age_seconds {
            let help = "Since each partition of the stream of tasks was read to its end";
            out.gauge("millstream_routes_unread_age_seconds", help, [(vec![], age)])?;
        }
        let stalled = f64::from(u8::from(routes.state == "stalled"));
        let help = "1 if the route log or the stream of tasks was not read to its end for 5 s";
        out.gauge("millstream_routes_stalled", help, [(vec![], stalled)])?;
        out.gauge("millstream_routes_services", "Services", [(vec![], routes.services as f64)])?;
        let tasks = routes.tasks.into_iter().map(|(state, tasks)| (state, tasks as f64)).collect();
        out.gauge("millstream_routes_tasks", "Tasks of revisions by state, without gone ones", by("state", tasks))?;
        let held = [(vec![], routes.held_total as f64)];
        out.gauge("millstream_routes_held_aliases", "Aliases whose newest generation is not served yet", held)?;
        let snapshots = routes.snapshots.into_iter().map(|(reason, times)| (reason, times as f64)).collect();
        out.counter("millstream_routes_snapshots", "Times that all facts were read", by("reason", snapshots))?;
        let Some(gateway) = routes.gateway else { return Ok(()) };
        let counts = vec![
            ("received", gateway.requests as f64),
            ("refused", gateway.refused as f64),
            ("failed", gateway.failed as f64),
            ("retried", gateway.retried as f64),
        ];
        let help = "Requests of the gateway; retried ones are counted once for each attempt after the first";
        out.counter("millstream_routes_requests", help, by("outcome", counts))
    }

    fn quarantine(&self, out: &mut Out<'_>) -> fmt::Result {
        let sample = |running: &Running, value: u64| (vec![("pipeline", running.config.name.clone())], value as f64);
        let all = &self.0.node.pipelines;
        let each = |value: &dyn Fn(&Running) -> u64| -> Vec<Sample> {
            all.iter().map(|running| sample(running, value(running))).collect()
        };
        let is_paused = |standing: &millstream_engine::Standing| standing.pause.is_some();
        let paused = each(&|running| running.progress.standings().into_iter().filter(is_paused).count() as u64);
        out.gauge("millstream_sink_paused_shares", "Stores that are paused, or are being resumed", paused)?;
        let kept = each(&|running| running.progress.standings().iter().map(|standing| standing.rows).sum());
        out.gauge("millstream_sink_quarantine_rows", "Rows in quarantine", kept)?;
        let redriven = each(&|running| running.quarantine.redriven.load(Relaxed));
        out.counter("millstream_sink_redriven_rows", "Rows of resumed stores that were written again", redriven)?;
        let expired = each(&|running| running.quarantine.expired.load(Relaxed));
        out.counter("millstream_sink_expired_rows", "Rows of the quarantine that were too old and are removed", expired)
    }

    fn pipelines(&self, out: &mut Out<'_>) -> fmt::Result {
        let app = &self.0;
        let all = app.node.pipelines.iter().enumerate();
        let all: Vec<_> = all.map(|(index, running)| (index, running, running.progress.snapshot())).collect();
        let label = |name: &str| ("pipeline", name.to_owned());
        let each = |value: &dyn Fn(&millstream_engine::Snapshot) -> u64| -> Vec<Sample> {
            all.iter().map(|(_, running, now)| (vec![label(&running.config.name)], value(now) as f64)).collect()
        };
        out.counter("millstream_source_records", "Records passed", each(&|now| now.records))?;
        let lags =
            all.iter().map(|(_, running, now)| (vec![label(&running.config.name)], running.lag_records(now) as f64));
        out.gauge("millstream_source_lag_records", "Records of the stream that are not in the tables", lags)?;
        let ages = all.iter().filter_map(|(index, running, now)| {
            let seconds = lag_seconds(app, *index, now, running.lag_records(now))?;
            Some((vec![label(&running.config.name)], seconds))
        });
        out.gauge("millstream_source_lag_seconds", "Age of the oldest record that is not in the tables", ages)?;
        filtered(&all, out)?;
        out.counter("millstream_sink_written_events", "Events that changed a table", each(&|now| now.written))?;
        out.counter("millstream_sink_quarantined_events", "Events set aside", each(&|now| now.quarantined))?;
        let tries = each(&|now| now.isolating_tries);
        out.counter("millstream_sink_isolating_tries", "Tries made to find records that the database refuses", tries)?;
        out.counter("millstream_sink_retries", "Attempts that failed and were made again", each(&|now| now.retries))?;
        out.counter("millstream_sink_stalls", "Lanes restarted for lack of progress", each(&|now| now.stalls))?;
        out.gauge(
            "millstream_sink_halted_partitions",
            "Partitions that wait for a person",
            each(&|now| now.halted.len() as u64),
        )?;
        let paused = each(&|now| u64::from(now.paused.is_some()));
        out.gauge("millstream_sink_paused", "1 while too many bad events keep a pipeline paused", paused)?;
        self.quarantine(out)?;
        out.counter("millstream_commit_transactions", "Committed transactions", each(&|now| now.transactions))?;
        let positions = all.iter().flat_map(|(_, running, now)| {
            now.positions.iter().filter_map(|(partition, next)| {
                let next: f64 = next.to_string().parse().ok()?;
                Some((vec![label(&running.config.name), ("partition", partition.to_string())], next))
            })
        });
        out.gauge("millstream_commit_position_records", "Next position of each partition", positions)?;
        let read = |reading: &dyn Fn(usize) -> Option<Reading>| -> Vec<(String, Reading)> {
            all.iter().filter_map(|(index, running, _)| Some((running.config.name.clone(), reading(*index)?))).collect()
        };
        let ms_per_s = 1000.0;
        let of = |index: usize| all.get(index).map(|(_, running, now)| (running, now));
        let batches = read(&|index| of(index).map(|(_, now)| now.batch_records.clone()));
        out.histogram("millstream_batch_size_records", "Records in a transaction", 1.0, &batches)?;
        let fresh = read(&|index| of(index).map(|(_, now)| now.freshness.clone()));
        out.histogram(
            "millstream_commit_freshness_seconds",
            "From accepted by the stream to committed",
            ms_per_s,
            &fresh,
        )?;
        let writes = read(&|index| of(index).map(|(running, _)| running.progress.write_time.read()));
        out.histogram("millstream_sink_write_seconds", "Time of a transaction with its retries", ms_per_s, &writes)
    }
}
