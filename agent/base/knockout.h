/* Test builds only (make KNOCKOUT=1): each layer of enforcement can be switched off by name, to
 * prove that the tests would notice. In every other build the question is the constant false, and
 * neither the names nor this code are in the programs. */
#ifndef OSH_BASE_KNOCKOUT_H
#define OSH_BASE_KNOCKOUT_H

#include <stdbool.h>

#ifdef OSH_KNOCKOUT
/* Is `layer` in $OSH_LAYERS_OFF, a list with commas? */
bool osh_layer_off(const char *layer);
/* That variable as NAME=VALUE, for the environment of a child; NULL when it is not set. */
char *osh_layers_off(void);
#else
#define osh_layer_off(layer) false
#define osh_layers_off() NULL
#endif

#endif
