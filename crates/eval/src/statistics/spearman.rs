//! Spearman's rank correlation between forecasts and measurements of pairs of domains.

use serde::{Deserialize, Serialize};

use super::random::Random;
use super::student::t_quantile;

/// Number of random relabelings of a permutation test, if there are more possible ones than this.
const RELABELINGS: usize = 5_000;
/// Minimum number of values for a rank correlation.
const FEWEST: usize = 4;
/// Largest |ρ| for Fisher's transformation, which is infinite at ±1.
const FARTHEST: f64 = 0.999_999;

/// Spearman's ρ with its 95 % interval and its p-value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// Spearman's ρ, the rank correlation from −1 to 1.
    pub value: f64,
    /// Interval by a jackknife that leaves out one domain at a time, with all pairs that contain it. It uses Fisher's
    /// transformation and Student's *t* with (domains − 1) degrees of freedom. `None` if too few pairs remain without
    /// a domain, or if leaving out domains changes nothing: an interval of zero width would claim that ρ is known
    /// exactly.
    pub interval: Option<[f64; 2]>,
    /// Two-sided p-value, by relabeling the domains of one variable (Mantel 1967; the quadratic assignment
    /// procedure).
    pub p_value: f64,
    /// Number of pairs of domains.
    pub pairs: usize,
    /// Number of domains in the pairs.
    pub domains: usize,
}

/// Forecast and measurement for a pair of domains: the effect on `column` of tuning on `row`. `row` equals `column`
/// for a value of a single domain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dyad {
    /// Index of the row's domain.
    pub row: usize,
    /// Index of the column's domain.
    pub column: usize,
    /// Forecast and measured value of the pair.
    pub values: [f64; 2],
}

/// Computes Spearman's ρ between forecasts and measurements over pairs of domains. Pairs that share a domain are
/// dependent, which the interval and the p-value account for. Returns `None` for fewer than 4 pairs, or if all
/// forecasts or all measurements are equal. `seed` draws the random relabelings.
///
/// ```
/// use polymath_eval::statistics::{Dyad, spearman};
///
/// // One value per domain: the ordinary rank correlation.
/// let rising: Vec<Dyad> = (0..6)
///     .map(|at| Dyad { row: at, column: at, values: [at as f64, (at * at) as f64] })
///     .collect();
/// let found = spearman(&rising, 1).unwrap();
/// assert_eq!(found.value, 1.0);
/// // Two of the 720 orders have |ρ| = 1.
/// assert!((found.p_value - 2.0 / 720.0).abs() < 1e-12);
/// ```
pub fn spearman(dyads: &[Dyad], seed: u64) -> Option<Correlation> {
    let domains = domains(dyads);
    let value = rho(dyads)?;
    Some(Correlation {
        value,
        interval: jackknife(dyads, &domains, value),
        p_value: relabel(dyads, &domains, value, seed),
        pairs: dyads.len(),
        domains: domains.len(),
    })
}

/// Returns the domains of all rows and columns.
fn domains(dyads: &[Dyad]) -> Vec<usize> {
    let mut domains: Vec<usize> = dyads
        .iter()
        .flat_map(|dyad| [dyad.row, dyad.column])
        .collect();
    domains.sort_unstable();
    domains.dedup();
    domains
}

fn rho(dyads: &[Dyad]) -> Option<f64> {
    let ranks_of = |side: usize| {
        let values: Vec<f64> = dyads.iter().map(|dyad| dyad.values[side]).collect();
        ranks(&values)
    };
    correlation(&ranks_of(0), &ranks_of(1))
}

/// Returns the rank correlation; `None` for fewer than 4 values, or if one of the variables is constant.
fn correlation(first: &[f64], second: &[f64]) -> Option<f64> {
    let middle = (first.len() as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        let both = a.iter().zip(b);
        both.map(|(a, b)| (a - middle) * (b - middle)).sum()
    };
    let scale = (product(first, first) * product(second, second)).sqrt();
    (first.len() >= FEWEST && scale > 0.0)
        .then(|| (product(first, second) / scale).clamp(-1.0, 1.0))
}

fn jackknife(dyads: &[Dyad], domains: &[usize], value: f64) -> Option<[f64; 2]> {
    let transformed = |rho: f64| rho.clamp(-FARTHEST, FARTHEST).atanh();
    let without = |domain: &usize| {
        let left: Vec<Dyad> = dyads
            .iter()
            .filter(|dyad| dyad.row != *domain && dyad.column != *domain)
            .copied()
            .collect();
        rho(&left).map(transformed)
    };
    let values: Vec<f64> = domains.iter().map(without).collect::<Option<_>>()?;
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if squares < 1e-20 {
        return None;
    }
    let arm = t_quantile(0.975, count - 1.0) * ((count - 1.0) / count * squares).sqrt();
    let middle = transformed(value);
    Some([
        (middle - arm).tanh().min(value),
        (middle + arm).tanh().max(value),
    ])
}

/// Returns the p-value of a permutation test: the share of relabelings with |ρ| at least as large as the observed one.
/// A relabeling exchanges the domains of the measured values: domains with a row among each other, and domains with
/// only a column among each other. Uses all relabelings if they are few, else random ones and the observed one.
fn relabel(dyads: &[Dyad], domains: &[usize], value: f64, seed: u64) -> f64 {
    let place = |domain: usize| domains.binary_search(&domain).expect("it is among them");
    let count = domains.len();
    let mut first = vec![None; count * count];
    let mut second = vec![None; count * count];
    let ranks_of = |side: usize| {
        let values: Vec<f64> = dyads.iter().map(|dyad| dyad.values[side]).collect();
        ranks(&values)
    };
    for ((dyad, a), b) in dyads.iter().zip(ranks_of(0)).zip(ranks_of(1)) {
        let at = place(dyad.row) * count + place(dyad.column);
        (first[at], second[at]) = (Some(a), Some(b));
    }
    let of = |labels: &[usize]| -> f64 {
        let cells = (0..count * count).filter_map(|at| {
            let moved = labels[at / count] * count + labels[at % count];
            first[at].zip(second[moved])
        });
        let (first, second): (Vec<f64>, Vec<f64>) = cells.unzip();
        correlation(&first, &second).map_or(0.0, f64::abs)
    };
    let is_row = |at: &usize| dyads.iter().any(|dyad| place(dyad.row) == *at);
    let (rows, columns): (Vec<usize>, Vec<usize>) = (0..count).partition(is_row);
    let as_far = |labels: &[usize]| of(labels) >= value.abs() - 1e-12;
    let orders = factorial(rows.len()) * factorial(columns.len());
    if orders <= RELABELINGS as f64 {
        let all = relabelings(&rows, &columns);
        return all.iter().filter(|labels| as_far(labels)).count() as f64 / all.len() as f64;
    }
    let mut random = Random(seed);
    let mut labels: Vec<usize> = (0..count).collect();
    let mut far = 1;
    for _ in 0..RELABELINGS {
        shuffle(&mut labels, &rows, &mut random);
        shuffle(&mut labels, &columns, &mut random);
        far += usize::from(as_far(&labels));
    }
    far as f64 / (RELABELINGS + 1) as f64
}

fn factorial(count: usize) -> f64 {
    (1..=count).map(|at| at as f64).product()
}

/// Returns every combination of an order of the rows and an order of the columns.
fn relabelings(rows: &[usize], columns: &[usize]) -> Vec<Vec<usize>> {
    let count = rows.len() + columns.len();
    let mut all = Vec::new();
    for of_rows in orders(rows) {
        for of_columns in orders(columns) {
            let mut labels = vec![0; count];
            let moved = rows
                .iter()
                .zip(&of_rows)
                .chain(columns.iter().zip(&of_columns));
            moved.for_each(|(from, to)| labels[*from] = *to);
            all.push(labels);
        }
    }
    all
}

fn orders(items: &[usize]) -> Vec<Vec<usize>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for at in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(at);
        all.extend(orders(&rest).into_iter().map(|mut order| {
            order.insert(0, first);
            order
        }));
    }
    all
}

/// Shuffles the labels at the positions `places` among each other.
fn shuffle(labels: &mut [usize], places: &[usize], random: &mut Random) {
    for at in (1..places.len()).rev() {
        labels.swap(places[at], places[random.below(at + 1)]);
    }
}

/// Returns ranks from 0; equal values share their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    values
        .iter()
        .map(|value| {
            let below = values.iter().filter(|other| *other < value).count();
            let equal = values.iter().filter(|other| *other == value).count();
            below as f64 + (equal as f64 - 1.0) / 2.0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(pairs: &[(f64, f64)]) -> Option<Correlation> {
        let dyads = pairs.iter().enumerate().map(|(at, pair)| Dyad {
            row: at,
            column: at,
            values: [pair.0, pair.1],
        });
        spearman(&dyads.collect::<Vec<_>>(), 1)
    }

    /// Checks small rankings against values by hand, including ties and degenerate cases.
    #[test]
    fn rankings_by_hand() {
        let rising = [(1.0, 10.0), (2.0, 20.0), (3.0, 25.0), (9.0, 26.0)];
        assert!((plain(&rising).unwrap().value - 1.0).abs() < 1e-12);
        // d = 1, 1, 0, 0, 0: 1 − 6·2 / (5·24) = 0.9.
        let swapped = [(1.0, 2.0), (2.0, 1.0), (3.0, 3.0), (4.0, 4.0), (5.0, 5.0)];
        let found = plain(&swapped).unwrap();
        assert!((found.value - 0.9).abs() < 1e-12);
        let [low, high] = found.interval.unwrap();
        assert!(low < 0.9 && 0.9 < high && high <= 1.0);
        // Among 120 orders, 1 has ρ = 1, 4 have ρ = 0.9, and as many have −1 and −0.9.
        assert!((found.p_value - 10.0 / 120.0).abs() < 1e-12);
        let ties = [(1.0, 4.0), (1.0, 3.0), (2.0, 2.0), (2.0, 1.0)];
        // Ranks ½ ½ 2½ 2½ against 3 2 1 0.
        assert!((plain(&ties).unwrap().value + 4.0 / (4.0f64 * 5.0).sqrt()).abs() < 1e-12);
        assert_eq!(plain(&rising[..3]), None);
        // ρ stays 1 if a domain is left out, which does not show how close to 1 the true value is.
        let alike: Vec<(f64, f64)> = (0..8).map(|at| (f64::from(at), f64::from(at))).collect();
        assert_eq!(plain(&alike).unwrap().interval, None);
        assert_eq!(plain(&[(1.0, 1.0); 6]), None);
    }

    /// Checks the p-value of random relabelings against all 40,320 orders of eight domains, within four standard
    /// errors, and that of a perfect order among more domains than can be hit by chance: only the observed order is
    /// as far.
    #[test]
    fn random_relabelings_stand_for_all() {
        let second = [3.0, 0.0, 2.0, 1.0, 6.0, 4.0, 7.0, 5.0];
        let pairs: Vec<(f64, f64)> = (0..8)
            .map(|at| (f64::from(at), second[at as usize]))
            .collect();
        let distance = |order: &[f64]| -> f64 {
            let squares = order
                .iter()
                .enumerate()
                .map(|(at, rank)| (at as f64 - rank).powi(2));
            squares.sum()
        };
        // ρ = 1 − 6 Σd² / (n³ − n), so that |ρ| is the distance of Σd² from 84.
        let far = |order: &[f64]| (distance(order) - 84.0).abs();
        let all = orders(&[0, 1, 2, 3, 4, 5, 6, 7]);
        let is_far = |order: &&Vec<usize>| {
            let ranks: Vec<f64> = order.iter().map(|rank| *rank as f64).collect();
            far(&ranks) >= far(&second)
        };
        let expected = all.iter().filter(is_far).count() as f64 / all.len() as f64;
        let found = plain(&pairs).unwrap();
        assert!((found.value - (1.0 - distance(&second) / 84.0)).abs() < 1e-12);
        let error = (expected * (1.0 - expected) / RELABELINGS as f64).sqrt();
        assert!(
            (found.p_value - expected).abs() < 4.0 * error,
            "{} {expected}",
            found.p_value
        );
        let alike: Vec<(f64, f64)> = (0..12).map(|at| (f64::from(at), f64::from(at))).collect();
        assert_eq!(plain(&alike).unwrap().p_value, 1.0 / 5001.0);
    }

    /// Checks that many orders are drawn and not listed where rows and columns have few each: five of both have 120²
    /// orders, so that the p-value is a share of 5,001.
    #[test]
    fn orders_of_rows_and_columns_multiply() {
        let dyads: Vec<Dyad> = (0..25)
            .map(|at| Dyad {
                row: at / 5,
                column: 5 + at % 5,
                values: [at as f64, (at * 7 % 25) as f64],
            })
            .collect();
        let found = spearman(&dyads, 1).unwrap();
        let count = found.p_value * 5001.0;
        assert!(
            (count - count.round()).abs() < 1e-9 && count > 1.5,
            "{count}"
        );
        assert_eq!((found.pairs, found.domains), (25, 10));
    }

    /// Checks that a shuffle exchanges labels at the given places only, and that each order of three is as frequent
    /// as the others.
    #[test]
    fn shuffles_are_even() {
        let mut random = Random(5);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..6000 {
            let mut labels = vec![0, 1, 2, 3, 4];
            shuffle(&mut labels, &[1, 2, 4], &mut random);
            assert_eq!((labels[0], labels[3]), (0, 3));
            *seen.entry(labels).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(
            seen.values().all(|count| (880..1120).contains(count)),
            "{seen:?}"
        );
    }

    /// Checks that rows and columns are relabeled apart: two rows and three columns have 2 · 6 orders, each of them
    /// once.
    #[test]
    fn rows_and_columns_are_relabeled_apart() {
        let mut all = relabelings(&[0, 3], &[1, 2, 4]);
        assert!(
            all.iter()
                .all(|labels| labels[0] + labels[3] == 3 && labels[0] % 3 == 0)
        );
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), factorial(0), factorial(4)), (12, 1.0, 24.0));
    }

    /// Returns pairs of `domains` domains whose two values depend on independent row and column effects only.
    fn matrix(domains: usize, random: &mut Random) -> Vec<Dyad> {
        let mut unit = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
        let effects: Vec<[f64; 4]> = (0..domains)
            .map(|_| [unit(), unit(), unit(), unit()])
            .collect();
        let mut dyads = Vec::new();
        for row in 0..domains {
            for column in (0..domains).filter(|column| *column != row) {
                let noise = [0.3 * unit(), 0.3 * unit()];
                let (a, b) = (effects[row], effects[column]);
                let values = [a[0] + b[1] + noise[0], a[2] + b[3] + noise[1]];
                dyads.push(Dyad {
                    row,
                    column,
                    values,
                });
            }
        }
        dyads
    }

    /// Checks, for two unrelated matrices, that relabeling domains is significant in 5 % of cases, and that the
    /// jackknife over domains covers the true value in at least 93 %. An interval for independent pairs would cover
    /// it in 75 %.
    #[test]
    fn pairs_hang_together_by_their_domains() {
        let mut random = Random(4);
        let (trials, mut found, mut held) = (150, 0, 0);
        for seed in 0..trials {
            let correlation = spearman(&matrix(7, &mut random), seed).unwrap();
            found += usize::from(correlation.p_value < 0.05);
            let [low, high] = correlation.interval.unwrap();
            held += usize::from(low <= 0.0 && 0.0 <= high);
        }
        let share = |count: usize| count as f64 / trials as f64;
        assert!((0.01..=0.10).contains(&share(found)), "{}", share(found));
        assert!(share(held) >= 0.93, "{}", share(held));
    }
}
