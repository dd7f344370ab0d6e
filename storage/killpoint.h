/* storage/killpoint.h - places where a test build can be made to die, as if by kill -9.
 *
 * KILL_POINT("append.written") does nothing unless the build defines KLAMM_KILL_POINTS (the sanitizer builds do)
 * and the environment has KLAMM_KILL_AT=append.written:3, which kills the process the third time it comes by.
 * Every durable step of this folder names one before and after it. LOCKS none; any thread.
 */
#ifndef STORAGE_KILLPOINT_H
#define STORAGE_KILLPOINT_H

#ifdef KLAMM_KILL_POINTS
void killpoint_pass(const char *name);
#define KILL_POINT(name) killpoint_pass(name)
#else
#define KILL_POINT(name) ((void)0)
#endif

#endif
