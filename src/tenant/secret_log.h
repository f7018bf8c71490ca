/*
 * secret_log.h
 *		Keeps statements that set a secret out of the server log.
 */
#ifndef ARTERY_TENANT_SECRET_LOG_H
#define ARTERY_TENANT_SECRET_LOG_H

/* Watch what goes to the log from now on. Called once from _PG_init. */
extern void artery_secret_log_init(void);

#endif							/* ARTERY_TENANT_SECRET_LOG_H */
