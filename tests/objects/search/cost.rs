//! A question costs no more than is allowed: it is refused, ended, or answered by an index.

use std::time::Duration;

use hyper::Method;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Setup, database};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::{OBJECTS, answer_to, described, keys, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_makes_no_sense_is_refused_with_the_reason() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    for (query, word) in [
        ("metadata=red", "metadata"),
        ("metadata=%5B%5D", "metadata"),
        ("metadata=%7B%22a%22%3A%22%5Cu0000%22%7D", "Unicode"),
        ("modified_after=yesterday", "modified_after"),
        ("modified_after=2026-13-01", "2026-13-01"),
        ("size_min=large", "size_min"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=nonsense", "cursor"),
        ("prefix=%00", "prefix"),
        ("store=A", "store"),
        ("colour=red", "colour"),
    ] {
        let answer = millstream.get(&format!("{OBJECTS}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{query}: {}", answer.text());
    }
    // A cursor of one bucket is none of another.
    put(&millstream, &[described("a", DAY_NS, None, &[]), described("b", DAY_NS, None, &[])]).await;
    let next = answer_to(&millstream, &format!("{OBJECTS}?limit=1")).await["next"].as_str().unwrap().to_owned();
    assert_eq!(millstream.get(&format!("/v1/buckets/other/objects?cursor={next}")).await.status, 400);
    assert_eq!(millstream.send(Method::DELETE, OBJECTS, &[], "").await.unwrap().status, 405);
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_cannot_hold_the_database_and_events_go_on_meanwhile() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    put(&millstream, &[described("a", DAY_NS, None, &[])]).await;
    let mut connection = database.connect().await;
    let mut locked = connection.begin().await.unwrap();
    sqlx::query("LOCK TABLE millstream.objects").execute(&mut *locked).await.unwrap();
    let asked = millstream.get(OBJECTS).await;
    assert_eq!(asked.status, 504, "{}", asked.text());
    assert_eq!(millstream.post(lines(&[described("b", DAY_NS, None, &[])])).await.unwrap().status, 202);
    locked.rollback().await.unwrap();
    millstream.caught_up(Duration::from_secs(30)).await;
    assert_eq!(keys(&answer_to(&millstream, OBJECTS).await), ["a", "b"]);
    millstream.finish().await;
}

/// The plan of a statement of the endpoint, with the values of a question.
async fn plan(
    connection: &mut PgConnection,
    sql: &'static str,
    prefix: &str,
    end: Option<&str>,
    metadata: Option<&str>,
) -> String {
    let explain = AssertSqlSafe(format!(
        "EXPLAIN (COSTS OFF) {}",
        sql.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n")
    ));
    let none: Option<i64> = None;
    let text: Option<&str> = None;
    let explain = sqlx::query(explain).persistent(false).bind("default").bind("uploads").bind(prefix).bind(end);
    let explain =
        explain.bind(text).bind("").bind(metadata).bind(none).bind(none).bind(text).bind(text).bind(false).bind(101i64);
    let rows = explain.fetch_all(connection).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn searches_go_by_the_index_of_metadata_and_prefixes_by_the_keys() {
    let database = database().await;
    database
        .execute(
            "INSERT INTO millstream.objects (order_time, order_seq, desc_time, desc_seq, desc_hash, size, kind, order_class, current, store, bucket, key, version_id, etag, metadata)
             SELECT n, 0, n, 0, 0, n, 1, 2, true, 'default', 'uploads', 'in/' || lpad(n::text, 8, '0'), '', '', jsonb_build_object('number', n::text, 'stage', 'raw')
             FROM generate_series(1, 50000) n",
        )
        .await;
    database.execute("VACUUM ANALYZE millstream.objects").await;
    let mut connection = database.connect().await;
    let select = include_str!("../../../pipeline/app/src/http/objects/sql/objects_select.sql");
    let search = include_str!("../../../pipeline/app/src/http/objects/sql/objects_search.sql");
    let by_metadata = plan(&mut connection, search, "", None, Some("{\"number\":\"777\"}")).await;
    assert!(by_metadata.contains("Bitmap Index Scan on objects_metadata"), "{by_metadata}");
    let by_prefix = plan(&mut connection, select, "in/0000", Some("in/0001"), None).await;
    assert!(by_prefix.contains("objects_pkey") && !by_prefix.contains("Sort"), "{by_prefix}");
    assert!(by_prefix.contains("key >= ") && by_prefix.contains("key < "), "the prefix bounds the scan: {by_prefix}");
    // The second way for values that many have: along the keys, in order, without the bitmap.
    sqlx::raw_sql("SET enable_bitmapscan = off").execute(&mut connection).await.unwrap();
    let along = plan(&mut connection, select, "", None, Some("{\"stage\":\"raw\"}")).await;
    assert!(along.contains("objects_pkey") && !along.contains("Sort"), "{along}");
    connection.close().await.unwrap();
}
