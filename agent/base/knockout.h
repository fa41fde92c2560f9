/* Test builds only (make KNOCKOUT=1): each layer of enforcement can be switched off by name, to
 * prove that the tests would notice, and the agent can be made to die at any of its crash points, to
 * prove that the next one copes. In every other build the questions are constants, and neither the
 * names nor this code are in the programs. */
#ifndef OSH_BASE_KNOCKOUT_H
#define OSH_BASE_KNOCKOUT_H

#include <stdbool.h>

#ifdef OSH_KNOCKOUT
/* Is `layer` in $OSH_LAYERS_OFF, a list with commas? */
bool osh_layer_off(const char *layer);
/* That variable as NAME=VALUE, for the environment of a child; NULL when it is not set. */
char *osh_layers_off(void);
/* A moment between two steps that belong together. They are numbered as this process passes
 * them, from 1; at number $OSH_CRASH_AT it kills itself. */
void osh_crash_point(void);
#else
#define osh_layer_off(layer) false
#define osh_layers_off() NULL
#define osh_crash_point() ((void)0)
#endif

#endif
