/* The ledger: where the next agent goes on reading, wherever the one before was killed. */
#include "verdict/ledger.h"

#include <criterion/criterion.h>
#include <sys/mman.h>
#include <unistd.h>

static int fd;
static struct osh_ledger *ledger;

static void begin(void)
{
	fd = memfd_create("ledger", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(fd, OSH_LEDGER_BYTES), 0);
	cr_assert_eq(osh_ledger_open(fd, &ledger), 0);
}

static void end(void)
{
	osh_ledger_close(ledger);
	close(fd);
}

TestSuite(ledger, .init = begin, .fini = end);

/* The agent is killed here, and another one comes. */
static void next_agent(void)
{
	osh_ledger_close(ledger);
	cr_assert_eq(osh_ledger_open(fd, &ledger), 0);
}

Test(ledger, a_new_one_knows_that_it_knows_nothing)
{
	cr_expect(osh_ledger_is_new(ledger));
	cr_expect_eq(osh_ledger_position(ledger, 0, 1000), 0);
	cr_expect_eq(osh_ledger_next_id(ledger), 0);
	next_agent();
	cr_expect_not(osh_ledger_is_new(ledger));
}

Test(ledger, bytes_of_another_version_are_none)
{
	static const char other[] = "osh-l?";

	osh_ledger_taken(ledger, 3, 17);
	cr_assert_eq(pwrite(fd, other, sizeof(other), 0), (ssize_t)sizeof(other));
	next_agent();
	cr_expect(osh_ledger_is_new(ledger));
	cr_expect_eq(osh_ledger_position(ledger, 3, 1000), 0);
}

Test(ledger, what_was_written_down_in_part_goes_on_behind_that_part)
{
	osh_ledger_taken(ledger, 1, 40);
	next_agent();
	cr_expect_eq(osh_ledger_position(ledger, 1, 500), 40, "numbers are no matter while none is taken");
	osh_ledger_taking(ledger, 1, 40, 501);
	next_agent();
	cr_expect_eq(osh_ledger_position(ledger, 1, 0), 40, "the journal was taken away");
	cr_expect_eq(osh_ledger_position(ledger, 1, 500), 40);
	cr_expect_eq(osh_ledger_position(ledger, 1, 501), 41);
	cr_expect_eq(osh_ledger_position(ledger, 1, 507), 47);
	cr_expect_eq(osh_ledger_position(ledger, 0, 507), 0, "another ring");
	osh_ledger_taken(ledger, 1, 48);
	next_agent();
	cr_expect_eq(osh_ledger_position(ledger, 1, 508), 48);
	cr_expect_eq(osh_ledger_position(ledger, 1, 9000), 48, "what came later came from elsewhere");
}

Test(ledger, the_other_words_stay_as_well)
{
	osh_ledger_set_next_id(ledger, 77);
	osh_ledger_set_refusals(ledger, 5);
	next_agent();
	cr_expect_eq(osh_ledger_next_id(ledger), 77);
	cr_expect_eq(osh_ledger_refusals(ledger), 5);
}
