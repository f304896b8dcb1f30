//! Joint resampling of several methods on the same document groups and seeds: values, standard errors and resamples.
//!
//! A value of a method (its gain or its mean forgetting) is a weighted sum of changes in bits per byte, averaged over
//! seeds. Each change is the ratio of two sums over a domain's groups. Its error has two parts: other document groups
//! and other seeds. The first part is resampled by drawing whole groups with replacement, the same for all methods,
//! so that what they have in common cancels in a difference between methods. The second part is drawn from a normal
//! distribution, since there are too few seeds to resample.

use crate::statistics::Random;

/// Minimum of a resample's variance, as a share of the sample's: a resample without the few groups that change would
/// otherwise have an infinite statistic.
const LEAST_VARIANCE: f64 = 0.04;

/// Changes of one domain by all methods, summed over the documents of each group.
pub struct DomainSums {
    /// UTF-8 bytes of each group.
    pub bytes: Vec<f64>,
    /// Bits of the tuned model minus those of the base, indexed by method and group and averaged over the method's
    /// seeds.
    pub bits: Vec<Vec<f64>>,
}

impl DomainSums {
    /// Returns the number of groups.
    pub fn groups(&self) -> usize {
        self.bytes.len()
    }

    fn rate(&self, method: usize) -> f64 {
        self.bits[method].iter().sum::<f64>() / self.bytes.iter().sum::<f64>()
    }
}

/// Square matrix with a row and a column for each method.
struct Square {
    size: usize,
    cells: Vec<f64>,
}

impl Square {
    fn new(size: usize) -> Self {
        Self {
            size,
            cells: vec![0.0; size * size],
        }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.cells[row * self.size + column]
    }

    /// Returns the variance of the difference between two methods, or that of one method if the second is `None`.
    fn variance(&self, contrast: Contrast) -> f64 {
        let Contrast { first, second } = contrast;
        let own = self.at(first, first);
        let variance = match second {
            None => own,
            Some(second) => own + self.at(second, second) - 2.0 * self.at(first, second),
        };
        variance.max(0.0)
    }

    /// Adds the covariance of a domain with each group counted `times`: weight² · n/(n−1) · Σ e_a e_b / (Σ bytes)².
    /// Without `off_diagonal`, adds only the variance of each method.
    fn add(
        &mut self,
        domain: WeightedDomain,
        residuals: &[Vec<f64>],
        times: &[u32],
        off_diagonal: bool,
    ) {
        let WeightedDomain { sums, weight } = domain;
        let count = sums.groups() as f64;
        let bytes = total(&sums.bytes, times);
        let scale = weight * weight * count / (count - 1.0).max(1.0) / (bytes * bytes);
        for (row, first) in residuals.iter().enumerate() {
            let counted = first.iter().zip(times).map(|(e, n)| e * f64::from(*n));
            let counted: Vec<f64> = counted.collect();
            let begin = if off_diagonal { 0 } else { row };
            for (column, second) in residuals.iter().enumerate().take(row + 1).skip(begin) {
                let products = counted.iter().zip(second).map(|(a, b)| a * b);
                let part = scale * products.sum::<f64>();
                self.cells[row * self.size + column] += part;
                if row != column {
                    self.cells[column * self.size + row] += part;
                }
            }
        }
    }
}

/// Quantity that is tested against zero: the result of one method, or the difference between a first and a second
/// method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contrast {
    first: usize,
    second: Option<usize>,
}

impl Contrast {
    /// Returns the contrast of a single method.
    pub fn of(method: usize) -> Self {
        Self {
            first: method,
            second: None,
        }
    }

    /// Returns the difference between two methods.
    pub fn between(first: usize, second: usize) -> Self {
        Self {
            first,
            second: Some(second),
        }
    }

    /// Returns every pair of methods once.
    pub fn pairs(methods: usize) -> impl Iterator<Item = Self> {
        (0..methods).flat_map(move |first| {
            (first + 1..methods).map(move |other| Self::between(first, other))
        })
    }
}

/// Domain and its weight in a sum over domains. Equal weights of 1 / (number of domains) give the mean.
#[derive(Clone, Copy)]
pub struct WeightedDomain<'a> {
    /// Changes of the domain by all methods.
    pub sums: &'a DomainSums,
    /// Weight of the domain's changes in the sum.
    pub weight: f64,
}

/// One quantity (gain or mean forgetting) of every method, with what is needed to resample it.
pub struct FigureOfAll<'a> {
    domains: Vec<WeightedDomain<'a>>,
    /// Residuals e = bits − rate · bytes, indexed by domain, method and group, from which standard errors are computed.
    residuals: Vec<Vec<Vec<f64>>>,
    /// Measured values in bits per byte, indexed by method and seed.
    values: Vec<Vec<f64>>,
    /// True if contrasts are differences between two methods, and false if they are single methods.
    of_differences: bool,
    covariance: Square,
}

/// Deviations of a quantity from its measured value in one bootstrap resample.
pub struct Draw {
    /// Deviation of each method because of the resampled document groups.
    groups: Vec<f64>,
    covariance: Square,
    /// Deviation because of the resampled seeds, indexed by method and seed.
    seeds: Vec<Vec<f64>>,
    /// Value of [`FigureOfAll::pooled`] in the resample.
    pooled: f64,
}

impl<'a> FigureOfAll<'a> {
    /// Creates the quantity from weighted domains and from its `values`, indexed by method and seed. Either all
    /// contrasts are differences between two methods, or none is.
    pub fn new(
        domains: Vec<WeightedDomain<'a>>,
        values: Vec<Vec<f64>>,
        of_differences: bool,
    ) -> Self {
        let mut covariance = Square::new(values.len());
        let mut residuals = Vec::new();
        for domain in &domains {
            let sums = domain.sums;
            let of = |method: usize| -> Vec<f64> {
                let rate = sums.rate(method);
                let pairs = sums.bits[method].iter().zip(&sums.bytes);
                pairs.map(|(bits, bytes)| bits - rate * bytes).collect()
            };
            let found: Vec<Vec<f64>> = (0..values.len()).map(of).collect();
            let once = vec![1; sums.groups()];
            covariance.add(*domain, &found, &once, of_differences);
            residuals.push(found);
        }
        Self {
            domains,
            residuals,
            values,
            of_differences,
            covariance,
        }
    }

    fn seeds(&self) -> usize {
        self.values.first().map_or(0, Vec::len)
    }

    /// Returns the value of a contrast, averaged over seeds.
    pub fn value(&self, contrast: Contrast) -> f64 {
        mean(&by_seed(&self.values, contrast))
    }

    /// Returns the standard error of a contrast over groups and, with several seeds, over seeds. The variance over
    /// seeds is the larger of the contrast's own and the mean over all contrasts of its kind, since two or three
    /// seeds can agree by chance and one method can vary more than the others.
    pub fn error(&self, contrast: Contrast) -> f64 {
        let own = self.covariance.variance(contrast);
        (own + over_seeds(&by_seed(&self.values, contrast), self.pooled())).sqrt()
    }

    /// Returns the mean variance over seeds: of single methods, or of differences between two.
    fn pooled(&self) -> f64 {
        pooled(&self.values, self.of_differences)
    }

    /// Draws the ratio of true to estimated variance over seeds, ν/χ²(ν), since the estimate has only few degrees of
    /// freedom ν.
    fn doubt(&self, random: &mut Random) -> f64 {
        let free = self.values.len() - usize::from(self.of_differences);
        let freedom = free * (self.seeds() - 1);
        let squares: f64 = (0..freedom).map(|_| random.normal().powi(2)).sum();
        freedom as f64 / squares
    }

    /// Draws a resample of groups and seeds.
    pub fn draw(&self, random: &mut Random) -> Draw {
        let methods = self.values.len();
        let mut draw = Draw {
            groups: vec![0.0; methods],
            covariance: Square::new(methods),
            seeds: Vec::new(),
            pooled: 0.0,
        };
        for (domain, residuals) in self.domains.iter().zip(&self.residuals) {
            let WeightedDomain { sums, weight } = domain;
            let mut times = vec![0; sums.groups()];
            for _ in 0..sums.groups() {
                times[random.below(sums.groups())] += 1;
            }
            let bytes = total(&sums.bytes, &times);
            let mut centered = Vec::new();
            for (method, residuals) in residuals.iter().enumerate() {
                let moved = total(residuals, &times) / bytes;
                draw.groups[method] += weight * moved;
                let pairs = residuals.iter().zip(&sums.bytes);
                centered.push(pairs.map(|(bits, bytes)| bits - moved * bytes).collect());
            }
            let covariance = &mut draw.covariance;
            covariance.add(*domain, &centered, &times, self.of_differences);
        }
        if self.seeds() > 1 {
            let parts = if self.of_differences { 2.0 } else { 1.0 };
            let scale = (self.pooled() / parts * self.doubt(random)).sqrt();
            let mut seeds = || (0..self.seeds()).map(|_| scale * random.normal()).collect();
            draw.seeds = (0..methods).map(|_| seeds()).collect();
            draw.pooled = pooled(&draw.seeds, self.of_differences);
        }
        draw
    }

    /// Returns the statistic of a contrast in a resample: its deviation divided by the resample's standard error.
    pub fn statistic(&self, draw: &Draw, contrast: Contrast) -> f64 {
        let Contrast { first, second } = contrast;
        let mut moved = draw.groups[first] - second.map_or(0.0, |second| draw.groups[second]);
        let least = LEAST_VARIANCE * self.covariance.variance(contrast);
        let mut variance = draw.covariance.variance(contrast).max(least);
        if !draw.seeds.is_empty() {
            let seeds = by_seed(&draw.seeds, contrast);
            moved += mean(&seeds);
            variance += over_seeds(&seeds, draw.pooled);
        }
        if variance > 0.0 {
            moved / variance.sqrt()
        } else {
            0.0
        }
    }

    /// Returns the value of a method in the resample.
    pub fn drawn(&self, draw: &Draw, method: usize) -> f64 {
        let seeds = draw.seeds.get(method).map_or(0.0, |seeds| mean(seeds));
        self.value(Contrast::of(method)) + draw.groups[method] + seeds
    }
}

fn total(values: &[f64], times: &[u32]) -> f64 {
    values
        .iter()
        .zip(times)
        .map(|(value, n)| value * f64::from(*n))
        .sum()
}

fn by_seed(values: &[Vec<f64>], contrast: Contrast) -> Vec<f64> {
    let Contrast { first, second } = contrast;
    match second {
        None => values[first].clone(),
        Some(second) => {
            let pairs = values[first].iter().zip(&values[second]);
            pairs.map(|(a, b)| a - b).collect()
        }
    }
}

/// Returns the variance of the mean over seeds, or 0 for one seed.
fn over_seeds(values: &[f64], pooled: f64) -> f64 {
    match values.len() {
        0 | 1 => 0.0,
        count => variance(values).max(pooled) / count as f64,
    }
}

fn pooled(values: &[Vec<f64>], of_differences: bool) -> f64 {
    let methods = values.len();
    let all: Vec<f64> = match of_differences {
        false => values.iter().map(|values| variance(values)).collect(),
        true => Contrast::pairs(methods)
            .map(|contrast| variance(&by_seed(values, contrast)))
            .collect(),
    };
    mean(&all)
}

/// Returns the arithmetic mean of the values; 0 for no values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    squares / (values.len() as f64 - 1.0).max(1.0)
}

#[cfg(test)]
mod tests;
