use std::io;

use super::Load::{Contention, Overload};
use super::Verdict::{Alarm, RecordFault, SlowDown, Split};
use super::{Verdict, load, load_of_code, of_code, verdict};

const SLOW: Verdict = SlowDown { reconnect: false };
const AWAY: Verdict = SlowDown { reconnect: true };

/// Every class that is listed by a code of its own, every special code, and their unlisted neighbours.
const TABLE: [(&str, Verdict); 68] = [
    ("08000", AWAY),
    ("08001", AWAY),
    ("08003", AWAY),
    ("08004", AWAY),
    ("08006", AWAY),
    ("08007", AWAY),
    ("08P01", AWAY),
    ("25006", AWAY),
    ("25000", Alarm),
    ("25001", Alarm),
    ("25P01", Alarm),
    ("25P02", Alarm),
    ("25P03", Alarm),
    ("25P04", Alarm),
    ("40001", SLOW),
    ("40P01", SLOW),
    ("40000", Alarm),
    ("40002", Alarm),
    ("40003", Alarm),
    ("53000", SLOW),
    ("53100", SLOW),
    ("53200", SLOW),
    ("53300", SLOW),
    ("53400", SLOW),
    ("55P03", Split),
    ("55000", Alarm),
    ("55006", Alarm),
    ("55P02", Alarm),
    ("57014", Split),
    ("57000", SLOW),
    ("57P01", AWAY),
    ("57P02", AWAY),
    ("57P03", AWAY),
    ("57P04", AWAY),
    ("57P05", AWAY),
    ("58000", SLOW),
    ("58030", SLOW),
    ("58P01", SLOW),
    ("58P02", SLOW),
    ("0A000", Alarm),
    ("26000", Alarm),
    ("28000", Alarm),
    ("28P01", Alarm),
    ("3D000", Alarm),
    ("3F000", Alarm),
    ("42501", Alarm),
    ("42601", Alarm),
    ("42703", Alarm),
    ("42P01", Alarm),
    ("XX000", Alarm),
    ("XX001", Alarm),
    ("XX002", Alarm),
    ("22001", RecordFault),
    ("22003", RecordFault),
    ("22021", RecordFault),
    ("22P02", RecordFault),
    ("22P05", RecordFault),
    ("23502", RecordFault),
    ("23503", RecordFault),
    ("23505", RecordFault),
    ("23P01", RecordFault),
    ("54000", RecordFault),
    ("54023", RecordFault),
    // Not listed.
    ("P0001", Alarm),
    ("21000", Alarm),
    ("72000", Alarm),
    ("HV000", Alarm),
    ("ZZ999", Alarm),
];

#[test]
fn each_code_has_its_verdict() {
    for (code, expected) in TABLE {
        assert_eq!(of_code(code, None), expected, "{code}");
    }
}

#[test]
fn a_missing_partition_is_ours_and_a_failed_check_is_the_records() {
    assert_eq!(of_code("23514", None), Alarm);
    assert_eq!(of_code("23514", Some("size_is_not_negative")), RecordFault);
}

#[test]
fn what_is_no_code_blames_nobody() {
    for text in ["", "2", "22", "220011", "22é1", "é2001", "éé1"] {
        assert_eq!(of_code(text, None), Alarm, "{text:?}");
    }
}

#[test]
fn errors_of_the_connection_and_the_driver_blame_no_record() {
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    for (error, expected) in [
        (sqlx::Error::Io(reset()), AWAY),
        (sqlx::Error::WorkerCrashed, AWAY),
        (sqlx::Error::BeginFailed, AWAY),
        (sqlx::Error::PoolTimedOut, SLOW),
        (sqlx::Error::Tls(Box::new(reset())), Alarm),
        (sqlx::Error::Protocol("unexpected message".to_owned()), Alarm),
        (sqlx::Error::PoolClosed, Alarm),
        (sqlx::Error::RowNotFound, Alarm),
        (sqlx::Error::Encode(Box::new(reset())), Alarm),
        (sqlx::Error::ColumnNotFound("size".to_owned()), Alarm),
    ] {
        assert_eq!(verdict(&error), expected, "{error}");
    }
}

#[test]
fn each_code_says_what_it_says_of_the_load() {
    let listed = |code: &str| match code {
        "08000" | "08001" | "08003" | "08004" | "08006" | "08007" | "08P01" => Some(Overload),
        "53000" | "53100" | "53200" | "53300" | "53400" => Some(Overload),
        "25P04" | "57014" | "57P03" => Some(Overload),
        "40001" | "40P01" | "55P03" => Some(Contention),
        _ => None,
    };
    for (code, _) in TABLE {
        assert_eq!(load_of_code(code), listed(code), "{code}");
    }
}

#[test]
fn no_connection_is_too_much_to_do_and_a_certificate_is_not() {
    let io = |kind| sqlx::Error::Io(io::Error::from(kind));
    for (error, expected) in [
        (io(io::ErrorKind::ConnectionRefused), Some(Overload)),
        (io(io::ErrorKind::TimedOut), Some(Overload)),
        (sqlx::Error::PoolTimedOut, Some(Overload)),
        (io(io::ErrorKind::InvalidData), None),
        (sqlx::Error::Protocol("unexpected message".to_owned()), None),
        (sqlx::Error::WorkerCrashed, None),
    ] {
        assert_eq!(load(&error), expected, "{error}");
    }
}
