//! Times as text.

/// A time in milliseconds since 1970, in UTC as RFC 3339 writes it.
pub(crate) fn utc(ms: i64) -> String {
    written(ms.div_euclid(1000), format_args!("{:03}", ms.rem_euclid(1000)))
}

/// The time of an object as the tables have it: 32.32 fixed-point seconds with the sign bit flipped. Rounded as
/// `millstream.to_time` rounds it, so that a time that was shown can be asked for. `None` if no event gave a time.
pub(crate) fn utc_of_order(order_time: i64) -> Option<String> {
    let fixed = order_time.cast_unsigned() ^ (1 << 63);
    let seconds = fixed >> 32;
    let fraction = fixed & 0xffff_ffff;
    // Within the second, so that the hour and the day are those of the seconds.
    let microseconds = ((fraction * 1_000_000 + (1 << 31)) >> 32).min(999_999);
    (seconds != 0).then(|| written(seconds.cast_signed(), format_args!("{microseconds:06}")))
}

/// Seconds since 1970 with the digits of a fraction.
fn written(seconds: i64, fraction: std::fmt::Arguments<'_>) -> String {
    let days = seconds.div_euclid(86_400);
    let seconds = seconds.rem_euclid(86_400);
    // Years begin in March here, so that the leap day is the last of its year ("civil from days", Howard Hinnant).
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{fraction}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_civil() {
        // From `date -u -d @SECONDS`.
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_435_200_123, "2026-11-23T12:00:00.123Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(utc(ms), text);
        }
    }

    #[test]
    fn the_time_of_an_object_is_the_nearest_microsecond_of_its_second() {
        let order = |seconds: u64, fraction: u64| (((seconds << 32) | fraction) ^ (1 << 63)).cast_signed();
        let fraction = |microseconds: u64| (microseconds << 32) / 1_000_000;
        for (order_time, text) in [
            (order(1_795_435_200, fraction(412_000)), Some("2026-11-23T12:00:00.412000Z")),
            (order(1_795_435_200, 2_147), Some("2026-11-23T12:00:00.000000Z")),
            (order(1_795_435_200, 2_148), Some("2026-11-23T12:00:00.000001Z")),
            (order(951_782_399, u64::from(u32::MAX)), Some("2000-02-28T23:59:59.999999Z")),
            (order(u64::from(u32::MAX), u64::from(u32::MAX)), Some("2106-02-07T06:28:15.999999Z")),
            (order(0, 1_795_435_200), None),
            (i64::MIN, None),
        ] {
            assert_eq!(utc_of_order(order_time).as_deref(), text);
        }
    }
}
