#include "control/names.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/mem.h"

#define TRIES 64

static const char *const manners[] = {
	"agile", "amber", "bold",  "brave",  "brisk",  "calm",	"clear", "cool",  "crisp",
	"deft",	 "eager", "early", "fair",   "fine",   "fleet", "fresh", "frank", "glad",
	"grand", "happy", "hardy", "honest", "jolly",  "keen",	"kind",	 "light", "lively",
	"loyal", "lucid", "merry", "mild",   "neat",   "noble", "plain", "proud", "quick",
	"quiet", "rapid", "ready", "sharp",  "silent", "sober", "solid", "spry",  "stout",
	"sunny", "swift", "tidy",  "vivid",  "warm",   "wise",	"witty",
};

static const char *const animals[] = {
	"badger", "beaver", "bison", "crane",  "deer",	 "dove",    "eagle", "egret",  "falcon",
	"finch",  "fox",    "gecko", "goat",   "goose",	 "hare",    "hawk",  "heron",  "ibex",
	"jay",	  "koala",  "lark",  "lemur",  "lion",	 "llama",   "lynx",  "magpie", "marten",
	"mole",	  "moose",  "newt",  "orca",   "otter",	 "owl",	    "panda", "plover", "puma",
	"quail",  "raven",  "robin", "salmon", "seal",	 "sparrow", "stork", "swan",   "tapir",
	"tern",	  "toad",   "trout", "turtle", "walrus", "whale",   "wren",
};

/* Which name matters to nobody, so a short read of randomness is no failure. */
static uint32_t random_number(void)
{
	uint32_t number = 0;

	(void)!getrandom(&number, sizeof(number), 0);
	return number;
}

int osh_name_make(bool (*is_taken)(void *context, const char *name), void *context,
		  char ret_name[static OSH_NAME_MAX])
{
	for (unsigned i = 0; i < TRIES; i++) {
		uint32_t number = random_number() + i;
		const char *manner = manners[number % OSH_COUNT_OF(manners)];
		const char *animal = animals[(number >> 16) % OSH_COUNT_OF(animals)];

		/* A number once the short ones are likely to be taken. */
		if (i < TRIES / 2)
			snprintf(ret_name, OSH_NAME_MAX, "%s-%s", manner, animal);
		else
			snprintf(ret_name, OSH_NAME_MAX, "%s-%s-%u", manner, animal,
				 number % 100000);
		if (!is_taken(context, ret_name))
			return 0;
	}
	return -EEXIST;
}
