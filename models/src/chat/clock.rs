//! `strftime_now`: the date and time that some templates write into the system message, in UTC.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The current time by the directives of C's `strftime`.
pub(super) fn format_now(format: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock set before 1970 reads as 1970.
    format_time(since.map_or(0, |since| since.as_secs()), format)
}

/// A moment, taken apart.
struct Moment {
    year: u64,
    /// 1 to 12.
    month: u64,
    /// 1 to 31.
    day: u64,
    /// 0 is Sunday.
    weekday: usize,
    /// 0 to 86,399.
    second: u64,
}

impl Moment {
    /// The Gregorian date of a count of seconds since 1970, after Howard Hinnant's
    /// `civil_from_days`: years begin in March, so that the leap day is the last of its year.
    fn at(seconds: u64) -> Moment {
        let days = seconds / 86_400;
        let shifted = days + 719_468; // days since 0000-03-01
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Moment {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: of_year - (153 * march_month + 2) / 5 + 1,
            weekday: ((days + 4) % 7) as usize, // 1970 began on a Thursday
            second: seconds % 86_400,
        }
    }

    fn month_name(&self) -> &'static str {
        MONTHS[self.month as usize - 1] // month is 1 to 12
    }

    fn day_name(&self) -> &'static str {
        DAYS[self.weekday] // weekday is below 7
    }
}

/// Time `seconds` after 1970 by `format`. Directives that are not known stand as they are.
fn format_time(seconds: u64, format: &str) -> String {
    let moment = Moment::at(seconds);
    let mut out = String::with_capacity(format.len() + 16);
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('-') => {
                let directive = chars.next().unwrap_or('-');
                let mut padded = String::new();
                push_directive(&mut padded, &moment, directive);
                let trimmed = padded.trim_start_matches('0');
                out.push_str(if trimmed.is_empty() && !padded.is_empty() { "0" } else { trimmed });
            }
            Some(directive) => push_directive(&mut out, &moment, directive),
            None => out.push('%'),
        }
    }
    out
}

fn push_directive(out: &mut String, moment: &Moment, directive: char) {
    let (hour, minute, second) =
        (moment.second / 3600, moment.second / 60 % 60, moment.second % 60);
    let hour12 = (hour + 11) % 12 + 1;
    // Writing to a string does not fail.
    let _ = match directive {
        'Y' => write!(out, "{:04}", moment.year),
        'y' => write!(out, "{:02}", moment.year % 100),
        'm' => write!(out, "{:02}", moment.month),
        'B' => write!(out, "{}", moment.month_name()),
        'b' | 'h' => write!(out, "{}", &moment.month_name()[..3]), // names are ASCII and longer
        'd' => write!(out, "{:02}", moment.day),
        'e' => write!(out, "{:2}", moment.day),
        'A' => write!(out, "{}", moment.day_name()),
        'a' => write!(out, "{}", &moment.day_name()[..3]), // names are ASCII and longer
        'H' => write!(out, "{hour:02}"),
        'I' => write!(out, "{hour12:02}"),
        'M' => write!(out, "{minute:02}"),
        'S' => write!(out, "{second:02}"),
        'p' => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
        'F' => write!(out, "{:04}-{:02}-{:02}", moment.year, moment.month, moment.day),
        'T' => write!(out, "{hour:02}:{minute:02}:{second:02}"),
        'Z' => write!(out, "UTC"),
        'z' => write!(out, "+0000"),
        '%' => write!(out, "%"),
        other => write!(out, "%{other}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(format_time(0, "%A %d %B %Y %T"), "Thursday 01 January 1970 00:00:00");
        // 2024-02-29 13:05:09
        assert_eq!(format_time(1_709_211_909, "%d %b %Y, %I:%M:%S %p"), "29 Feb 2024, 01:05:09 PM");
        assert_eq!(format_time(1_709_211_909, "%a %F %y %-m %e"), "Thu 2024-02-29 24 2 29");
        // 2100-03-01: 2100 has no leap day
        assert_eq!(format_time(4_107_542_400, "%F"), "2100-03-01");
    }

    #[test]
    fn odd_formats() {
        assert_eq!(format_time(0, "100%% %q %-H %"), "100% %q 0 %");
    }
}
