// Package series keeps measured values over time in memory: gauges, counters and histograms of durations.
//
// Time and values are arguments; a Store is owned by one goroutine. A point is kept in three tiers at once: 1 s for 15 min, 15 s for
// 24 h, 5 min for 30 d (Tiers). Within a tier, points are coded as differences in chunks of 60. What a series of one point a second
// takes at most, in bytes (TestBytes measures it):
//
//	kind       a constant   an ordinary one   noise in every bit
//	gauge          30 000           155 000              250 000
//	counter        30 000            60 000               92 000
//	histogram      31 000           215 000            1 030 000
//
// A series without points takes nothing but its labels. MaxSeries bounds their number, MaxBytes what they take together; beyond
// either, the series that have been idle for longest go.
package series
