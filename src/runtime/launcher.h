/*
 * launcher.h
 *		Keeps one worker alive per listed database.
 */
#ifndef ARTERY_RUNTIME_LAUNCHER_H
#define ARTERY_RUNTIME_LAUNCHER_H

/* Register the launcher; only while preloading, never in binary upgrade. */
extern void artery_launcher_init(void);

#endif							/* ARTERY_RUNTIME_LAUNCHER_H */
