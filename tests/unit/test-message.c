/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls as they may be, and as they may not: every refusal leaves the outputs alone and says why.
 */
#include "allocator/daemon/message.h"

#include "allocator/daemon/decode.h"
#include "common/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define CALL "\"method\":\"a.b.C\""

static int parse(const char *text, struct message *ret)
{
    char why[128] = "";
    int r = message_parse(text, strlen(text), ret, why, sizeof(why));

    if (r == 0)
        assert_string_equal(why, "");
    else
        assert_true(why[0] != '\0');
    return r;
}

static void refused_sized(const char *text, size_t size, const char *reason)
{
    struct message m, untouched;
    char why[256] = "";

    memset(&m, 0x5a, sizeof(m));
    memset(&untouched, 0x5a, sizeof(m));
    assert_int_equal(message_parse(text, size, &m, why, sizeof(why)), -EBADMSG);
    assert_memory_equal(&m, &untouched, sizeof(m));
    if (!strstr(why, reason))
        fail_msg("%s: \"%s\" instead of \"%s\"", text, why, reason);
    for (const char *c = why; *c; c++)
        assert_true(*c >= ' ' && *c < 0x7f);
}

static void refused(const char *text, const char *reason)
{
    refused_sized(text, strlen(text), reason);
}

static void test_call(void **state)
{
    struct message m;

    (void)state;
    assert_int_equal(parse("{\"method\":\"io.uidpool.Lease\",\"parameters\":{\"domid\":5}}", &m),
                     0);
    assert_string_equal(m.interface, "io.uidpool");
    assert_string_equal(m.method, "Lease");
    assert_int_equal(json_integer_value(json_object_get(m.parameters, "domid")), 5);
    assert_false(m.more || m.oneway || m.upgrade);
    message_clear(&m);
    assert_null(m.parameters);
    message_clear(&m);

    assert_int_equal(parse(" { " CALL ", \"more\" : true, \"upgrade\": false }\n", &m), 0);
    assert_true(m.more && !m.oneway && !m.upgrade);
    assert_true(json_is_object(m.parameters));
    assert_int_equal(json_object_size(m.parameters), 0);
    message_clear(&m);

    assert_int_equal(parse("{" CALL ",\"oneway\":true,\"more\":null,\"parameters\":null}", &m), 0);
    assert_true(m.oneway && !m.more);
    message_clear(&m);

    /* An extension, which may be ignored. */
    assert_int_equal(parse("{" CALL ",\"com.example.trace\":{\"id\":[1]}}", &m), 0);
    message_clear(&m);
}

static void test_no_json(void **state)
{
    (void)state;
    refused("", "no JSON");
    refused("   ", "no JSON");
    refused("{", "no JSON");
    refused("{" CALL "}}", "no JSON");
    refused("{" CALL "} {" CALL "}", "no JSON");
    refused("{" CALL ",}", "no JSON");
    refused("{'method':'a.b'}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":01}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":+1}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":.5}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":NaN}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":Infinity}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":0x10}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":1e}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":99999999999999999999,\"b\":1e}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":99999999999999999999,\"b\":99999999999999999999.}}",
            "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":099999999999999999999}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":99999999999999999999,\"b\":099999999999999999999}}",
            "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":\"\xff\xfe\"}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":\"\xc0\x80\"}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":\"\\ud800\"}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":\"\n\"}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\":\"\\u0000\"}}", "no JSON");
    refused("{" CALL ",\"parameters\":{\"a\\u0000b\":1}}", "no JSON");
    refused_sized("{" CALL "}\0", sizeof("{" CALL "}"), "no JSON");
    refused_sized("{\"method\0\":1}", 12, "no JSON");
    refused("{" CALL "," CALL "}", "duplicate");
    refused("{" CALL ",\"parameters\":{\"a\":1,\"a\":1}}", "duplicate");
    /* The reason quotes the text, but not its bytes that are no letters. */
    refused("{" CALL ",\x1b[2J\x7f}", "no JSON");
}

static void test_no_call(void **state)
{
    char name[MESSAGE_METHOD_MAX + 64];

    (void)state;
    refused("[]", "object");
    refused("null", "object");
    refused("1", "object");
    refused("\"a.B\"", "object");
    refused("{}", "\"method\"");
    refused("{\"method\":null}", "\"method\"");
    refused("{\"method\":5}", "\"method\"");
    refused("{\"method\":{}}", "\"method\"");
    refused("{\"method\":\"\"}", "INTERFACE.METHOD");
    refused("{\"method\":\"Lease\"}", "INTERFACE.METHOD");
    refused("{\"method\":\".Lease\"}", "INTERFACE.METHOD");
    refused("{\"method\":\"io.uidpool.\"}", "INTERFACE.METHOD");
    refused("{\"method\":\".\"}", "INTERFACE.METHOD");
    refused("{\"method\":\"io.uidpool.Lease \"}", "INTERFACE.METHOD");
    refused("{\"method\":\"io.uidpool.\\nLease\"}", "INTERFACE.METHOD");
    refused("{\"method\":\"io.uidpool.L\xc3\xa4se\"}", "INTERFACE.METHOD");
    refused("{" CALL ",\"parameters\":[]}", "\"parameters\"");
    refused("{" CALL ",\"parameters\":1}", "\"parameters\"");
    refused("{" CALL ",\"parameters\":\"\"}", "\"parameters\"");
    refused("{" CALL ",\"more\":1}", "boolean");
    refused("{" CALL ",\"oneway\":\"true\"}", "boolean");
    refused("{" CALL ",\"upgrade\":{}}", "boolean");
    refused("{" CALL ",\"more\":true,\"oneway\":true}", "oneway");
    refused("{" CALL ",\"continues\":true}", "no member \"continues\"");
    refused("{" CALL ",\"Method\":\"a.B\"}", "no member \"Method\"");
    refused("{" CALL ",\"com.example\":1}", "no member \"com.example\"");
    refused("{" CALL ",\"\\n\\u202e\":1}", "no member \"?");

    memset(name, 'a', sizeof(name));
    memcpy(name, "{\"method\":\"x.", 13);
    memcpy(name + 11 + MESSAGE_METHOD_MAX + 1, "\"}", 3);
    refused(name, "INTERFACE.METHOD");
}

static void test_longest_name(void **state)
{
    char text[MESSAGE_METHOD_MAX + 64];
    struct message m;

    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text, "{\"method\":\"x.", 13);
    memcpy(text + 11 + MESSAGE_METHOD_MAX, "\"}", 3);
    assert_int_equal(parse(text, &m), 0);
    assert_string_equal(m.interface, "x");
    assert_int_equal(strlen(m.method), MESSAGE_METHOD_MAX - 2);
    message_clear(&m);

    memset(text + 11, 'a', MESSAGE_METHOD_MAX);
    memcpy(text + 11 + MESSAGE_METHOD_MAX - 2, ".X", 2);
    assert_int_equal(parse(text, &m), 0);
    assert_int_equal(strlen(m.interface), MESSAGE_METHOD_MAX - 2);
    assert_string_equal(m.method, "X");
    message_clear(&m);
}

/* `depth` more levels below the parameters. */
static char *nested(size_t depth, const char *open, const char *close)
{
    static const char head[] = "{" CALL ",\"parameters\":{\"a\":", tail[] = "}}";
    size_t n = strlen(open), m = strlen(close);
    char *text = malloc(sizeof(head) + sizeof(tail) + depth * (n + m) + 1), *at = text;

    assert_non_null(text);
    memcpy(at, head, sizeof(head) - 1);
    at += sizeof(head) - 1;
    for (size_t i = 0; i < depth; i++, at += n)
        memcpy(at, open, n);
    *at++ = '1';
    for (size_t i = 0; i < depth; i++, at += m)
        memcpy(at, close, m);
    memcpy(at, tail, sizeof(tail));
    return text;
}

static void test_depth(void **state)
{
    static const size_t too_deep[] = {DECODE_DEPTH_MAX - 1, 100, 2048, 10000, 1000000};
    struct message m;
    char *text;

    (void)state;
    text = nested(DECODE_DEPTH_MAX - 2, "[", "]");
    assert_int_equal(parse(text, &m), 0);
    message_clear(&m);
    free(text);
    for (size_t i = 0; i < ELEMENTS_OF(too_deep); i++) {
        text = nested(too_deep[i], "[", "]");
        refused(text, "deep");
        free(text);
        text = nested(too_deep[i], "{\"b\":", "}");
        refused(text, "deep");
        free(text);
        text = nested(too_deep[i], "[", "");
        refused(text, "deep");
        free(text);
    }
    /* Brackets in texts are no levels, behind escaped quotes neither. */
    assert_int_equal(parse("{" CALL ",\"parameters\":{\"a\":\"[[[[[[[[\\\"[[[[[[[[[[[\\\\\"}}", &m),
                     0);
    message_clear(&m);
    refused("{" CALL ",\"parameters\":{\"a\":\"\\\\\",\"b\":[[[[[[[[[[[]]]]]]]]]]]}}", "deep");
}

static void wrong_integer(const char *number)
{
    int64_t value = 77;
    struct message m;
    char text[512];

    snprintf(text, sizeof(text), "{" CALL ",\"parameters\":{\"n\":%s,\"ok\":-3}}", number);
    assert_int_equal(parse(text, &m), 0);
    assert_int_equal(message_get_integer(m.parameters, "n", INT64_MIN, INT64_MAX, &value), -EINVAL);
    assert_int_equal(value, 77);
    assert_int_equal(message_get_integer(m.parameters, "ok", -3, -3, &value), 1);
    assert_int_equal(value, -3);
    message_clear(&m);
}

static void test_wrong_integers(void **state)
{
    (void)state;
    wrong_integer("1.0");
    wrong_integer("1e3");
    wrong_integer("-0.5");
    wrong_integer("5E-1");
    wrong_integer("1e999");
    wrong_integer("-1e999");
    wrong_integer("1.5e+999");
    wrong_integer("9223372036854775808");
    wrong_integer("-9223372036854775809");
    wrong_integer("18446744073709551615");
    wrong_integer("18446744073709551621");
    wrong_integer("100000000000000000000000000000000000000000000000000000000000");
    wrong_integer("\"5\"");
    wrong_integer("true");
    wrong_integer("[5]");
    wrong_integer("{}");
    wrong_integer("\"99999999999999999999999 \\\" 99999999999999999999999\"");
    wrong_integer("[99999999999999999999999,1e999,-1]");
}

/* One that is too large does no harm to the others of its call, and is told from them. */
static void test_integers(void **state)
{
    static const char text[] =
        "{" CALL ",\"parameters\":{\"most\":9223372036854775807,"
        "\"least\":-9223372036854775808,\"huge\":9223372036854775808,"
        "\"zero\":-0,\"five\":5,\"text\":\"9223372036854775808\",\"no\":null}}";
    int64_t value = 77;
    const char *word;
    struct message m;

    (void)state;
    assert_int_equal(parse(text, &m), 0);
    assert_int_equal(message_get_integer(m.parameters, "most", 0, INT64_MAX, &value), 1);
    assert_true(value == INT64_MAX);
    assert_int_equal(message_get_integer(m.parameters, "least", INT64_MIN, 0, &value), 1);
    assert_true(value == INT64_MIN);
    assert_int_equal(message_get_integer(m.parameters, "zero", 0, 0, &value), 1);
    assert_true(value == 0);
    assert_int_equal(message_get_integer(m.parameters, "huge", INT64_MIN, INT64_MAX, &value),
                     -EINVAL);
    assert_int_equal(message_get_integer(m.parameters, "five", 6, 7, &value), -EINVAL);
    assert_int_equal(message_get_integer(m.parameters, "five", 3, 4, &value), -EINVAL);
    assert_int_equal(message_get_integer(m.parameters, "no", 3, 4, &value), 0);
    assert_int_equal(message_get_integer(m.parameters, "none", 3, 4, &value), 0);
    assert_true(value == 0);
    assert_int_equal(message_get_text(m.parameters, "text", &word), 1);
    assert_string_equal(word, "9223372036854775808");
    message_clear(&m);
}

static void test_texts_and_booleans(void **state)
{
    static const char *const known[] = {"t", "b", "n", NULL};
    const char *word = "untouched";
    bool flag = true;
    struct message m;

    (void)state;
    assert_int_equal(parse("{" CALL ",\"parameters\":{\"t\":\"\",\"b\":false,\"n\":null}}", &m), 0);
    assert_int_equal(message_get_text(m.parameters, "b", &word), -EINVAL);
    assert_int_equal(message_get_text(m.parameters, "n", &word), 0);
    assert_int_equal(message_get_text(m.parameters, "x", &word), 0);
    assert_string_equal(word, "untouched");
    assert_int_equal(message_get_text(m.parameters, "t", &word), 1);
    assert_string_equal(word, "");
    assert_int_equal(message_get_bool(m.parameters, "t", &flag), -EINVAL);
    assert_int_equal(message_get_bool(m.parameters, "n", &flag), 0);
    assert_true(flag);
    assert_int_equal(message_get_bool(m.parameters, "b", &flag), 1);
    assert_false(flag);
    assert_null(message_unknown(m.parameters, known));
    assert_string_equal(message_unknown(m.parameters, known + 1), "t");
    message_clear(&m);
}

static void test_replies(void **state)
{
    json_t *parameters = json_pack("{s:i}", "n", 1);
    size_t size;
    char *text;

    (void)state;
    text = message_reply(parameters, false, &size);
    assert_string_equal(text, "{\"parameters\":{\"n\":1}}");
    assert_int_equal(size, strlen(text) + 1);
    free(text);
    text = message_reply(parameters, true, &size);
    assert_string_equal(text, "{\"continues\":true,\"parameters\":{\"n\":1}}");
    free(text);
    text = message_reply(NULL, false, &size);
    assert_string_equal(text, "{\"parameters\":{}}");
    free(text);
    text = message_error("io.uidpool.NotFound", parameters, &size);
    assert_string_equal(text, "{\"error\":\"io.uidpool.NotFound\",\"parameters\":{\"n\":1}}");
    assert_int_equal(size, strlen(text) + 1);
    free(text);
    json_decref(parameters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call),     cmocka_unit_test(test_no_json),
        cmocka_unit_test(test_no_call),  cmocka_unit_test(test_longest_name),
        cmocka_unit_test(test_depth),    cmocka_unit_test(test_wrong_integers),
        cmocka_unit_test(test_integers), cmocka_unit_test(test_texts_and_booleans),
        cmocka_unit_test(test_replies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
