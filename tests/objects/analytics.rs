//! What analysts may rely on: each question that the documents show is answered by an index, and a time that is shown
//! means the same wherever it is given back.

use std::time::{Duration, Instant};

use millstream_tests::dialect::rfc3339;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{
    Database, Description, Dialect, Event, Generator, Millstream, Model, Setup, Writer, compare, database, soak,
};
use rand::Rng as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::commands::command;

/// What an analyst reads first.
const README: &str = include_str!("../../schemas/README.md");
/// What tools of analysts write of themselves, as their sources have it.
const TOOLS: &[&str] = &[
    // Grafana: $__timeGroup, $__timeFilter.
    "SELECT floor(extract(epoch from modified_at)/3600)*3600 AS time, count(*) FROM analytics.objects WHERE modified_at BETWEEN '2026-11-22T07:16:40.123Z' AND '2026-11-22T13:16:40.123Z' GROUP BY 1 ORDER BY 1",
    // Metabase: a range of a time, the last days, a range of a date that it casts, and a filter by day of a date.
    r#"SELECT COUNT(*) AS "count" FROM "analytics"."objects" WHERE ("analytics"."objects"."modified_at" >= timestamp with time zone '2026-11-22 00:00:00.000Z') AND ("analytics"."objects"."modified_at" < timestamp with time zone '2026-11-23 00:00:00.000Z')"#,
    r#"SELECT COUNT(*) AS "count" FROM "analytics"."objects" WHERE "analytics"."objects"."modified_at" >= DATE_TRUNC('day', (NOW() + INTERVAL '-1 day')) AND "analytics"."objects"."modified_at" < DATE_TRUNC('day', (NOW() + INTERVAL '1 day'))"#,
    r#"SELECT COUNT(*) AS "count" FROM "analytics"."objects" WHERE CAST("analytics"."objects"."modified_on" AS date) BETWEEN date '2026-11-20' AND date '2026-11-21'"#,
    r#"SELECT CAST("analytics"."objects"."modified_on" AS date) AS "day", COUNT(*) FROM "analytics"."objects" WHERE "analytics"."objects"."modified_on" = date '2026-11-21' GROUP BY 1 ORDER BY 1 ASC"#,
    // What the documents gave before there was an index on the time that is shown.
    "SELECT key FROM analytics.objects WHERE metadata @> '{\"stage\":\"raw\"}'",
    "SELECT count(*) FROM analytics.objects WHERE order_time >= millstream.from_time('2026-11-23') AND order_time < millstream.from_time('2026-11-24')",
];

/// The statements of the section for analysts.
fn documented() -> Vec<String> {
    let section = README.split("## For analysts").nth(1).expect("a section for analysts");
    let blocks: Vec<&str> = section.split("```sql").skip(1).filter_map(|block| block.split("```").next()).collect();
    let code: Vec<&str> =
        blocks.iter().flat_map(|block| block.lines()).filter(|line| !line.starts_with("--")).collect();
    let statements: Vec<String> = code.join("\n").split(';').map(|sql| sql.trim().to_owned()).collect();
    let statements: Vec<String> = statements.into_iter().filter(|sql| !sql.is_empty()).collect();
    let inline = section.split('`').filter(|text| text.starts_with("SELECT ") && !text.contains('\n'));
    statements.into_iter().chain(inline.map(str::to_owned)).collect()
}

/// The examples in the comments of schema analytics, by what they stand on.
async fn commented(connection: &mut PgConnection) -> Vec<String> {
    let comments: Vec<String> = sqlx::query_scalar(
        "SELECT d.description FROM pg_description d JOIN pg_class c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass
         WHERE c.relnamespace = 'analytics'::regnamespace",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let views: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'analytics'::regnamespace AND relkind = 'v'",
    )
    .fetch_one(connection)
    .await
    .unwrap();
    let examples: Vec<String> =
        comments.iter().filter_map(|text| text.split_once("Example: ").map(|(_, sql)| sql.to_owned())).collect();
    assert_eq!(examples.len() as i64, views, "each view has an example: {examples:#?}");
    examples
}

/// A login that `user add` has made, connected.
async fn analyst(database: &Database) -> (String, PgConnection) {
    let name = format!("{}_{}", database.name.replace("test_", "reader_"), std::process::id());
    let added = command(database, &Setup::embedded(), &["user", "add", &name, "--role", "analyst"]);
    assert_eq!(added.code, 0, "{added:#?}");
    let connection = PgConnection::connect_with(&database.options().username(&name)).await.unwrap();
    (name, connection)
}

async fn gone(database: &Database, name: &str) {
    database.execute(&format!("DROP OWNED BY {name}; DROP ROLE {name}")).await;
}

/// So many objects, ten weeks of them in the order of time, each with metadata; every tenth has been overwritten since it was
/// described.
async fn fill(database: &Database, rows: u64) {
    let fill = format!(
        "INSERT INTO millstream.objects (order_time, order_seq, desc_time, desc_seq, desc_hash, size, kind, order_class, current, store, bucket, key, version_id, etag, content_type, metadata, older_metadata)
         SELECT millstream.from_time(timestamptz '2026-09-20Z' + interval '70 days' * n / {rows}), n,
                millstream.from_time(timestamptz '2026-09-20Z' + interval '70 days' * n / {rows} - interval '1 h' * (n % 10 = 0)::int), n, n,
                n % 100000, 1, 2, true, 'default', (ARRAY['uploads', 'logs', 'media'])[1 + n % 3], 'in/2026/' || md5(n::text), '', md5(n::text), 'image/jpeg',
                CASE WHEN n % 10 <> 0 THEN m END, CASE WHEN n % 10 = 0 THEN m END
         FROM generate_series(1, {rows}) n, jsonb_build_object('stage', (ARRAY['raw', 'done', 'new', 'old'])[1 + n % 4],
                                                               'owner', 'owner-' || n % 1000, 'trace-id', n::text) m"
    );
    database.execute(&fill).await;
    database.execute("VACUUM ANALYZE millstream.objects").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_question_of_an_analyst_is_answered_by_an_index() {
    let database = database().await;
    let rows = if soak() { 2_000_000 } else { 200_000 };
    fill(&database, rows).await;
    let (name, mut connection) = analyst(&database).await;
    let from_readme = documented();
    let from_comments = commented(&mut connection).await;
    assert!(from_readme.len() >= 8, "{from_readme:#?}");
    for sql in from_readme.iter().chain(&from_comments).map(String::as_str).chain(TOOLS.iter().copied()) {
        let explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN {sql}"))).fetch_all(&mut connection).await;
        let plan: Vec<String> = explain.expect(sql).iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(!plan.contains("Seq Scan on objects"), "{sql}\n{plan}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect(sql);
    }
    few_are_found_by_their_metadata(&mut connection).await;
    how_long_searches_take(&mut connection, rows).await;
    connection.close().await.unwrap();
    gone(&database, &name).await;
}

/// What one of a thousand objects has is found first and sorted then, whether it is in the sample of ANALYZE or not.
async fn few_are_found_by_their_metadata(connection: &mut PgConnection) {
    for owner in (1..1000).step_by(7).filter(|owner| owner % 10 != 0) {
        let search = format!(
            r#"SELECT bucket, key, size FROM analytics.objects WHERE metadata @> '{{"owner":"owner-{owner}"}}' ORDER BY bucket, key LIMIT 100"#
        );
        let explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN {search}"))).fetch_all(&mut *connection).await;
        let plan: Vec<String> = explain.unwrap().iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("Bitmap Index Scan on objects_metadata"), "{search}\n{plan}");
    }
}

/// Searches by metadata that one, two hundred and fifty thousand objects have, and none.
async fn how_long_searches_take(connection: &mut PgConnection, rows: u64) {
    let mut generator = Generator::new("searches");
    let mut times: Vec<Duration> = Vec::new();
    for number in 0..400u64 {
        let at = generator.rng().random_range(0..rows);
        let (search, least) = match number % 4 {
            0 => (json!({ "trace-id": at.to_string() }), usize::from(at % 10 != 0)),
            1 => (json!({ "owner": format!("owner-{}", at / 10 % 99 * 10 + 1) }), 100),
            2 => (json!({ "stage": "raw" }), 100),
            _ => (json!({ "stage": "raw", "trace-id": "none" }), 0),
        };
        let began = Instant::now();
        let found = sqlx::query(
            "SELECT bucket, key, size FROM analytics.objects WHERE metadata @> $1 ORDER BY bucket, key LIMIT 100",
        )
        .persistent(false)
        .bind(search.clone())
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        times.push(began.elapsed());
        assert!(found.len() >= least, "{search}: {}", found.len());
    }
    times.sort();
    let median = times[times.len() / 2];
    let p99 = times[times.len() * 99 / 100];
    println!("metadata searches of {rows} objects as an analyst: median {median:?}, p99 {p99:?}");
    // Other tests share the processors: the 99th of a hundred is for a machine that does nothing else.
    assert!(median < Duration::from_millis(20), "{median:?}");
    assert!(!soak() || p99 < Duration::from_millis(20), "{p99:?}");
}

/// Every tenth object is overwritten by an upload that says nothing of metadata, before or after it was described.
#[tokio::test]
async fn a_description_that_is_older_than_its_object_is_neither_shown_nor_found_by_sql() {
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let object = |number: u64| {
        let metadata = [("stage".to_owned(), "raw".to_owned()), ("number".to_owned(), number.to_string())];
        let description = Description { metadata: Some(metadata.into()), ..Description::default() };
        let event = Event::create("uploads", &format!("in/{number:03}"), DAY_NS + number, 1);
        Event { description: Some(description), ..event }
    };
    let described: Vec<Event> = (0..100).map(object).collect();
    let overwritten = described.iter().step_by(10).map(|event| Event {
        at_ns: event.at_ns + 5_000_000_000,
        description: None,
        dialect: Dialect::Aws,
        ..event.clone()
    });
    let overwritten: Vec<Event> = overwritten.collect();
    writer.put(&overwritten[..5]).await;
    writer.put(&described).await;
    writer.put(&overwritten[5..]).await;
    compare(&database, &Model::of(described.iter().chain(&overwritten))).await;
    let (name, mut connection) = analyst(&database).await;
    for (search, expected) in [
        ("metadata @> '{\"number\":\"20\"}'", 0),
        ("metadata @> '{\"number\":\"70\"}'", 0),
        ("metadata ->> 'number' = '70'", 0),
        ("metadata @> '{\"number\":\"71\"}'", 1),
        ("metadata @> '{\"stage\":\"raw\"}'", 90),
        ("metadata IS NULL AND content_type IS NULL AND tags IS NULL", 10),
    ] {
        for plan in ["SET enable_seqscan = on", "SET enable_seqscan = off"] {
            sqlx::raw_sql(plan).execute(&mut connection).await.unwrap();
            let sql = format!("SELECT count(*) FROM analytics.objects WHERE {search}");
            let found: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap();
            assert_eq!(found, expected, "{search}, {plan}");
        }
    }
    assert_eq!(
        database.number("SELECT count(older_metadata) FROM millstream.objects").await,
        10,
        "kept, and not shown"
    );
    connection.close().await.unwrap();
    gone(&database, &name).await;
}

/// All of 1970 to 2106, dense where rounding changes its mind: an order value is on the side of its own time that the
/// documents say, in each form that SQL has of it, and the smallest one of its time is what `from_time` says.
#[tokio::test]
async fn a_time_is_rounded_in_one_way_everywhere() {
    let database = database().await;
    let times = "
        WITH seconds AS (
            SELECT unnest(ARRAY[1, 59, 3599, 3600, 86399, 86400, 951782400, 1795435200, 2147483647, 2147483648, 4294967295]) AS s
            UNION ALL SELECT 1 + (random() * 4294967294)::bigint FROM generate_series(1, 200)
        ), fractions AS (
            SELECT unnest(ARRAY[0, 1, 2147, 2148, 2149, 4294965147, 4294965148, 4294965149, 4294967295]) AS f
            UNION ALL SELECT (random() * 4294967295)::bigint FROM generate_series(1, 100)
            UNION ALL SELECT floor(u * 4294967296.0 / 1000000)::bigint + d FROM generate_series(1000, 999000, 9000) u, generate_series(-1, 1) d
            UNION ALL SELECT ceil((u - 0.5) * 4294967296 / 1000000)::bigint + d FROM generate_series(1, 999999, 9999) u, generate_series(-1, 1) d
        ), times AS (
            SELECT (s::numeric * 4294967296 + f - 9223372036854775808)::bigint AS x FROM seconds, fractions
        )
        SELECT x, millstream.to_time(x) AS at FROM times";
    for (what, wrong) in [
        ("it is at or after its own time", "NOT x >= millstream.from_time(at)"),
        ("what is smaller than its time is before it", "millstream.to_time(millstream.from_time(at) - 1) >= at"),
        ("the time of the smallest value is the same", "millstream.to_time(millstream.from_time(at)) <> at"),
        (
            "it is read again as it was printed",
            "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')::timestamptz <> at",
        ),
        ("its day is that of its time", "millstream.to_date(x) <> (at AT TIME ZONE 'UTC')::date"),
        (
            "its hour is that of its time",
            "to_timestamp((((x >> 32) + 2147483648) / 3600) * 3600) <> date_trunc('hour', at)",
        ),
        (
            "it is less than a microsecond off",
            "abs(extract(epoch FROM at) * 4294967296 - (x::numeric + 9223372036854775808)) >= 4294.967296",
        ),
    ] {
        let found = database.number(&format!("SELECT count(*) FROM ({times}) t WHERE {wrong}")).await;
        assert_eq!(found, 0, "{what}");
    }
    let text = |sql: &str| format!("SELECT coalesce(({sql})::text, 'null')");
    for (sql, expected) in [
        // The number of microseconds that was told comes back, although it is no whole number of 2^-32 s.
        (
            "millstream.to_time(floor((1795946400 + 0.412) * 4294967296 - 9223372036854775808)::bigint)",
            "2026-11-29 10:00:00.412+00",
        ),
        ("millstream.to_time((-9223372036854775808 + 4294967295)::bigint)", "null"),
        ("millstream.to_date((-9223372036854775808)::bigint)", "null"),
        ("millstream.to_time(null)", "null"),
    ] {
        let mut connection = database.connect().await;
        let found: String = sqlx::query_scalar(AssertSqlSafe(text(sql))).fetch_one(&mut connection).await.unwrap();
        assert_eq!(found, expected, "{sql}");
    }
}

fn keys(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect()
}

/// The same over HTTP, in the list, the count, the cursor and `why`, for times as every dialect writes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_an_object_given_back_finds_it_and_ends_before_it() {
    let database = database().await;
    let mut generator = Generator::new("times");
    let mut events: Vec<Event> = Vec::new();
    for number in 0..60u64 {
        let rng = generator.rng();
        let fraction = match number % 6 {
            0 => 412_000_000,
            1 => rng.random_range(0..1_000) * 1_000_000,
            2 => rng.random_range(0..1_000_000) * 1_000,
            3 => [999_999_999, 999_999_500, 499, 500, 501, 1, 0][rng.random_range(0..7)],
            _ => rng.random_range(0..1_000_000_000),
        };
        let at_ns = DAY_NS + rng.random_range(0..6 * 3_600) * 1_000_000_000 + fraction;
        let dialect = [Dialect::Minio, Dialect::Aws, Dialect::EventBridge, Dialect::Plain][number as usize % 4];
        let event = Event::create("uploads", &format!("k{number:02}"), at_ns, 1);
        let description = event.description.clone().filter(|_| matches!(dialect, Dialect::Minio | Dialect::Plain));
        events.push(Event { dialect, description, ..event });
    }
    let setup = Setup::new(&database).set("http.listen=127.0.0.1:0");
    let millstream = setup.start().await;
    assert_eq!(millstream.post(lines(&events)).await.unwrap().status, 202);
    millstream.caught_up(Duration::from_secs(60)).await;
    let get = async |path: &str| {
        let answer = millstream.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    };
    for event in &events {
        let key = &*event.key;
        let one = get(&format!("/v1/buckets/uploads/objects/{key}")).await;
        let shown = one["modified_at"].as_str().unwrap().to_owned();
        // The plain types say the time itself; with all of its digits it is the same bound.
        let told = rfc3339(event.at_ns, 9);
        let told = if event.dialect == Dialect::Plain { &told } else { &shown };
        let bounds =
            [&shown, told].into_iter().flat_map(|at| [("modified_after", at, true), ("modified_before", at, false)]);
        for (bound, at, includes) in bounds {
            let asked = format!("prefix={key}&{bound}={at}");
            let list = get(&format!("/v1/buckets/uploads/objects?{asked}")).await;
            assert_eq!(keys(&list), if includes { vec![key] } else { vec![] }, "{asked}");
            let by_metadata = get(&format!("/v1/buckets/uploads/objects?{asked}&metadata=%7B%7D")).await;
            assert_eq!(keys(&by_metadata).is_empty(), !includes || event.description.is_none(), "{asked}, by metadata");
            let count = get(&format!("/v1/buckets/uploads/count?{asked}")).await;
            assert_eq!(count["objects"], i64::from(includes), "{asked}");
        }
        let sql = format!(
            "SELECT count(*) FILTER (WHERE modified_at >= '{shown}') * 10 + count(*) FILTER (WHERE modified_at < '{shown}') * 100
                    + count(*) FILTER (WHERE order_time >= millstream.from_time('{shown}')) * 1000 + count(*)
             FROM analytics.objects WHERE key = '{key}'"
        );
        assert_eq!(database.number(&sql).await, 1_011, "{key} {shown}");
        if let "k00" | "k13" | "k26" | "k39" = key {
            let why = command(&database, &setup, &["why", "uploads", key, "--since", "1h", "--json"]).json();
            assert_eq!(why["rows"][0]["time"], shown, "{why:#}");
        }
    }
    pages_begin_with_the_bound(&millstream).await;
    millstream.finish().await;
}

/// A walk from a time on goes over its pages without losing the object that has this very time.
async fn pages_begin_with_the_bound(millstream: &Millstream) {
    let get = async |path: &str| millstream.get(&format!("/v1/buckets/uploads/{path}")).await.json();
    let first = get("objects?limit=1").await;
    let after = first["items"][0]["modified_at"].as_str().unwrap();
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(&format!("objects?limit=7&modified_after={after}{cursor}")).await;
        seen.extend(keys(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let counted = get(&format!("count?modified_after={after}")).await;
    assert_eq!((seen.len() as i64, &*seen[0]), (counted["objects"].as_i64().unwrap(), "k00"));
}

/// An event of S3 whose time is left empty, or is not there at all.
fn undated(key: &str, time: Option<&str>) -> Vec<u8> {
    let mut record = json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-west-1", "eventName": "ObjectCreated:Put",
        "s3": { "s3SchemaVersion": "1.0", "configurationId": "c1", "bucket": { "name": "uploads", "arn": "arn:aws:s3:::uploads" },
                "object": { "key": key, "size": 10, "eTag": "aa" } },
    });
    if let Some(time) = time {
        record["eventTime"] = json!(time);
    }
    json!({ "Records": [record] }).to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_nobody_told_is_null_and_counts_in_no_hour() {
    let database = database().await;
    let setup = Setup::new(&database).set("http.listen=127.0.0.1:0");
    let millstream = setup.start().await;
    let plain = json!({ "specversion": "1.0", "id": "1", "source": "/test", "type": "millstream.object.created",
                        "data": { "bucket": "uploads", "key": "plain", "size": 10 } });
    let removed = json!({ "specversion": "1.0", "id": "2", "source": "/test", "type": "millstream.object.deleted",
                          "data": { "bucket": "uploads", "key": "gone" } });
    let dated = Event::create("uploads", "dated", DAY_NS, 10);
    for body in [
        undated("empty", Some("")),
        undated("absent", None),
        undated("clock", Some("1970-01-01T00:00:00Z")),
        plain.to_string().into_bytes(),
        removed.to_string().into_bytes(),
        dated.json(),
    ] {
        let answer = millstream.post(body).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    millstream.caught_up(Duration::from_secs(60)).await;
    let get = async |path: &str| millstream.get(&format!("/v1/buckets/uploads/{path}")).await.json();
    for key in ["empty", "absent", "clock", "plain"] {
        let one = get(&format!("objects/{key}")).await;
        assert_eq!((&one["modified_at"], &one["order_class"]), (&Value::Null, &json!("undated")), "{one}");
        let why = command(&database, &setup, &["why", "uploads", key, "--json"]).json();
        assert_eq!(why["rows"][0]["time"], Value::Null, "{why:#}");
    }
    for bound in ["modified_after=1960-01-01", "modified_before=2100-01-01T00:00:00Z"] {
        assert_eq!(keys(&get(&format!("objects?{bound}")).await), ["dated"], "{bound}");
        assert_eq!(get(&format!("count?{bound}")).await["objects"], 1, "{bound}");
    }
    assert_eq!(get("count").await["objects"], 5, "they are objects all the same");
    assert!(!command(&database, &setup, &["why", "uploads", "empty"]).out.contains("1970"));
    millstream.finish().await;
    for (sql, expected) in [
        ("SELECT count(*) FROM analytics.objects WHERE modified_at IS NULL AND modified_on IS NULL", 4),
        ("SELECT count(*) FROM analytics.objects WHERE modified_at < '2000-01-01' OR modified_on < '2000-01-01'", 0),
        ("SELECT count(*) FROM analytics.uploads_hourly WHERE hour < '2000-01-01'", 0),
        ("SELECT sum(created + removed) FROM analytics.uploads_hourly", 1),
    ] {
        assert_eq!(database.number(sql).await, expected, "{sql}");
    }
    let check = command(&database, &setup, &["counters", "check"]);
    assert_eq!(check.code, 0, "{check:#?}");
}
