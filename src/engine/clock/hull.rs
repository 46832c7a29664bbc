//! The lower hull of arrivals, and the edge of it that best stands for all of them.
//!
//! A line that no point lies below, and that keeps the sum of the heights of the points above it least, is a linear
//! programme (Moon, Skelly, Towsley: "Estimation and removal of clock skew from network delay measurements", INFOCOM 1999).
//! Its solution is the edge of the lower convex hull that spans the mean abscissa, so a hull is all it takes. Points come
//! newest first: one pass then gives the hull of every span that ends now.

/// x in seconds before the newest (so zero or negative), y in microseconds: a slope is in parts per million.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// y = at_zero + slope x
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Line {
    pub at_zero: f64,
    pub slope: f64,
}

impl Line {
    pub fn at(self, x: f64) -> f64 {
        self.at_zero + self.slope * x
    }
}

/// Grows to the left.
#[derive(Clone, Debug, Default)]
pub struct LowerHull {
    corners: Vec<Point>,
    sum_x: f64,
    count: usize,
}

impl LowerHull {
    pub fn clear(&mut self) {
        self.corners.clear();
        (self.sum_x, self.count) = (0.0, 0);
    }

    /// Adds a point left of all before it. Amortised O(1).
    pub fn push_left(&mut self, point: Point) {
        while let [.., a, b] = self.corners[..] {
            let b_is_below = (b.y - a.y) * (point.x - a.x) > (point.y - a.y) * (b.x - a.x);
            if b_is_below {
                break;
            }
            self.corners.pop();
        }
        self.corners.push(point);
        self.sum_x += point.x;
        self.count += 1;
    }

    /// The edge over the mean abscissa; `None` for fewer than two points.
    pub fn middle_edge(&self) -> Option<Line> {
        let mean = self.sum_x / self.count as f64;
        let left = self.corners.partition_point(|corner| corner.x > mean).clamp(1, self.corners.len().max(1));
        let (a, b) = (self.corners.get(left - 1)?, self.corners.get(left)?);
        let slope = (a.y - b.y) / (a.x - b.x);
        Some(Line { at_zero: a.y - slope * a.x, slope })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hull_of(points: &[Point]) -> LowerHull {
        let mut hull = LowerHull::default();
        points.iter().for_each(|&point| hull.push_left(point));
        hull
    }

    proptest! {
        /// The linear programme itself, by brute force over all lines through two points.
        #[test]
        fn the_middle_edge_solves_the_linear_programme(ys in prop::collection::vec(0.0..1000.0f64, 2..40)) {
            let points: Vec<Point> = ys.iter().enumerate().map(|(i, &y)| Point { x: -(i as f64), y }).collect();
            let line = hull_of(&points).middle_edge().unwrap();
            let height = |line: Line| points.iter().map(|p| p.y - line.at(p.x)).sum::<f64>();
            prop_assert!(points.iter().all(|p| p.y - line.at(p.x) > -1e-9));
            for (i, a) in points.iter().enumerate() {
                for b in &points[i + 1..] {
                    let slope = (a.y - b.y) / (a.x - b.x);
                    let other = Line { at_zero: a.y - slope * a.x, slope };
                    if points.iter().all(|p| p.y - other.at(p.x) > -1e-9) {
                        prop_assert!(height(line) < height(other) + 1e-6);
                    }
                }
            }
        }
    }

    #[test]
    fn fewer_than_two_points_have_no_line() {
        assert_eq!(hull_of(&[]).middle_edge(), None);
        assert_eq!(hull_of(&[Point { x: 0.0, y: 1.0 }]).middle_edge(), None);
    }
}
