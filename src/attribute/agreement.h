/*
 * agreement.h
 *		How much likelier it is that a click and a conversion agree as they do if
 *		they are one person's than if they are strangers' (Fellegi-Sunter weights).
 */
#ifndef ARTERY_ATTRIBUTE_AGREEMENT_H
#define ARTERY_ATTRIBUTE_AGREEMENT_H

#include "attribute/calibrated.h"

#define Max2(a, b) ((a) > (b) ? (a) : (b))
#define Min2(a, b) ((a) < (b) ? (a) : (b))

/* The number of edges that a value is not below: its bucket. */
extern int	artery_agreement_bucket(const double *edges, int count, double value);

/* The bucket of agreement of a lag in hours. */
extern int	artery_agreement_lag(double hours);

/* The share of one of the counts of a row. */
extern double artery_agreement_share(const double *row, int count, int index);

/* The level of device agreement if only one is possible, else -1. */
extern int	artery_agreement_single(int device);

/*
 * Chance that clicks or a click and a conversion of one person, these many hours
 * apart, agree in the network as told, by the sharedness of the older one's block.
 */
extern double artery_agreement_same_network(const CalibratedState *state, int shared, double hours, int network);

/* Chance that a click of somebody else comes from the same address, given the clicks there of other devices. */
extern double artery_agreement_chance_address(double window, double others);

/* The same for the block but another address. */
extern double artery_agreement_chance_block(double window, double others, double address);

/* Chance that a stranger's click has the conversion's hardware. */
extern double artery_agreement_chance_hardware(const CalibratedCounts *counts);

/*
 * Fill the candidate's same_device, same_network, device_ratio and network_ratio:
 * the chances if it is one person, and the weights.
 */
extern void artery_agreement_weigh(const CalibratedState *state, const CalibratedConversion *conversion,
								   CalibratedCandidate *candidate);

#endif							/* ARTERY_ATTRIBUTE_AGREEMENT_H */
