"""The model `blended` vectorised in numpy, from arrays to rows: decision.sh compares select_budget with it.

    decision.py ADS REPEATS    prints the best times in ms: bare rows, and rows like those of select_budget

A bare row is ad, budgets, change and confidence; a row like select_budget's has the reason in words and a
dictionary of metrics besides. Reading the arrays from anywhere is not counted.
"""
import sys
import time

import numpy

NAMES = ("ctr", "pipeline_roas", "cash_roas", "ctr_weight", "roas_weight", "normalized_ctr", "normalized_roas", "blended_score",
         "decay_factor", "dna_boost", "final_score", "alpha", "beta", "draw", "share", "wanted_budget")


def make(count):
    i = numpy.arange(1, count + 1)
    ads = [f"ad_{k}" for k in i]
    return (ads, 500.0 * (i % 100), 10.0 * (i % 100), 7.5 * (i % 1000), 20.0 * (i % 5) * (i % 500), numpy.zeros(count),
            5.0 * (i % 300), numpy.zeros(count))


def decide(impressions, clicks, spend, value, cash, age, dna, total, random):
    ctr = numpy.where(impressions > 0, clicks / numpy.maximum(impressions, 1), 0.0)
    roas = value / numpy.maximum(spend, 0.01)
    weight = numpy.where(age < 6, 1.0, numpy.where(age < 24, 1 - 0.3 * (age - 6) / 18, numpy.where(
        age < 72, 0.7 - 0.4 * (age - 24) / 48, numpy.maximum(0.1, 0.3 * numpy.exp(-0.1 * (age - 72) / 24)))))
    normal_ctr = numpy.minimum(ctr / 0.05, 1)
    normal_roas = numpy.minimum(roas / 3, 1)
    blended = weight * normal_ctr + (1 - weight) * normal_roas
    decay = numpy.exp(-0.0001 * impressions)
    boost = 1 + 0.2 * numpy.clip(dna, 0, 1)
    final = blended * decay * boost
    trials = numpy.maximum(impressions, 100)
    alpha = trials * final + 1
    beta = numpy.maximum(1, trials * (1 - final) + 1)
    draw = random.beta(alpha, beta)
    share = numpy.exp(draw - draw.max())
    share /= share.sum()
    exact = share * total * 100
    cents = numpy.floor(exact).astype(numpy.int64)
    rest = int(round(total * 100)) - cents.sum()
    cents[numpy.argsort(-(exact - cents), kind="stable")[:rest]] += 1
    budget = cents / 100
    current = numpy.round(spend / numpy.maximum(age / 24, 1), 2)
    change = numpy.where(current > 0, 100 * (budget - current) / numpy.maximum(current, 0.01), 100)
    confidence = numpy.round(numpy.minimum((numpy.minimum(impressions / 1000, 1) + numpy.minimum(age / 72, 1) + final) / 3, 1), 4)
    metrics = (ctr, roas, cash / numpy.maximum(spend, 0.01), weight, 1 - weight, normal_ctr, normal_roas, blended, decay, boost,
               final, alpha, beta, draw, share, budget)
    return current, budget, change, confidence, metrics


def bare_rows(ads, facts, total, random):
    current, budget, change, confidence, _ = decide(*facts, total, random)
    return list(zip(ads, current.tolist(), budget.tolist(), change.tolist(), confidence.tolist()))


def whole_rows(ads, facts, total, random):
    current, budget, change, confidence, metrics = decide(*facts, total, random)
    ages = facts[5].tolist()
    rows = []
    for ad, now, then, moved, sure, age, *each in zip(ads, current.tolist(), budget.tolist(), change.tolist(), confidence.tolist(),
                                                      ages, *(column.tolist() for column in metrics)):
        rows.append((ad, now, then, moved, sure, reason(moved, age, each),
                     dict(zip(NAMES, each), model="blended", seed=1, total_budget=total)))
    return rows


def reason(change, age, each):
    ctr, roas, weight, decay = 100 * each[0], each[1], each[3], each[8]
    if change > 0:
        if weight > 0.7:
            return f"Strong CTR ({ctr:.1f}%) in early phase (age: {age:.1f}h). Scaling up."
        if roas < 1:
            return f"Pipeline ROAS ({roas:.2f}x) below cost, yet its share is above its budget. Trying more."
        return f"Strong Pipeline ROAS ({roas:.2f}x). Scaling up."
    if change < -20:
        return f"Poor performance (CTR: {ctr:.1f}%, ROAS: {roas:.2f}x). Cutting budget."
    if decay < 0.5:
        return f"Ad fatigue (decay: {decay:.2f}). Reallocating budget to fresher ads."
    return "Below-average performance. Reallocating budget to winners."


def best(make_rows, repeats, *arguments):
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        make_rows(*arguments)
        times.append(time.perf_counter() - began)
    return 1000 * min(times)


def main():
    count, repeats = int(sys.argv[1]), int(sys.argv[2])
    ads, *facts = make(count)
    arguments = (ads, facts, 100.0 * count, numpy.random.default_rng(1))
    print(best(bare_rows, repeats, *arguments), best(whole_rows, repeats, *arguments))


main()
