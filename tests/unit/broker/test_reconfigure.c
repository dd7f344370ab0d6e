/* tests/unit/broker/test_reconfigure.c - what the table of properties says of changes while the broker runs is so. */
#include "broker/reconfigure.h"
#include "config/config.h"

#include <check.h>
#include <stdlib.h>

START_TEST(the_table_tells_what_a_change_does)
{
    for (size_t i = 0; i < server_params.n; i++) {
        const struct param *p = &server_params.v[i];

        if (p->when == CONFIG_READ_ONLY)
            ck_assert_msg(p->effect != CONFIG_LATER, "%s cannot be changed while a broker runs", p->name);
        else if (p->effect == CONFIG_EFFECT)
            ck_assert_msg(reconfigure_knows(p), "%s: nobody takes a change up, so it has to be LATER", p->name);
        else if (p->effect == CONFIG_LATER)
            ck_assert_msg(!reconfigure_knows(p), "%s: a change is taken up, so it is not LATER", p->name);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/reconfigure");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_test(t, the_table_tells_what_a_change_does);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
