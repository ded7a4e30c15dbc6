"""Paired statistics of two hops on the same items: p-values against a threshold, intervals, Holm, detectable effect.

Every difference is an *improvement* (new minus old, sign turned by the caller where lower is better), and every test is
one-sided: H0 "improvement <= threshold". `better by margin` has threshold +margin, `not worse by more than margin` has
threshold -margin. Pure numpy and scipy; the bootstrap is seeded.
"""
