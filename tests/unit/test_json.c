/* SPDX-License-Identifier: MIT */
/* The reader of JSON: what it tightens, what it refuses, and the walk through the rest. */
#include "nmi_json.h"
#include "nmi_json_read.h"
#include "nmi_test.h"

#include <stdio.h>

static nmi_context *context;

static void set_up(void)
{
    context = test_context();
}

static void tear_down(void)
{
    neumeta_context_free(context);
}

/* Reads a copy without a zero behind it, in which ' became ", so that reading beyond its end is
 * found by ASan; to be freed. */
static char *read_bytes(const char *text, size_t size, neumeta_status expected, const char **root)
{
    char *copy = malloc(size > 0 ? size : 1);
    ck_assert_ptr_nonnull(copy);
    for (size_t i = 0; i < size; i++)
        copy[i] = text[i] == '\'' ? '"' : text[i];
    assert_status(context, nmi_json_read(context, "text", copy, size, root), expected);
    ck_assert((*root == NULL) == (expected != NEUMETA_OK));
    return copy;
}

static char *read_text(const char *text, neumeta_status expected, const char **root)
{
    return read_bytes(text, strlen(text), expected, root);
}

static const struct {
    const char *text, *tight; /* with | for a zero */
} texts[] = {
    {"{}", "{}"},
    {" \t\r\n{ } ", "{}"},
    {"{ 'a' : 1 , 'b' : [ ] }", "{'a|:1,'b|:[]}"},
    {"{'a':[1, -2,{'b':{}}, [[]]],'c':'d'}", "{'a|:[1,-2,{'b|:{}},[[]]],'c|:'d|}"},
    {"{'':'\\'\\\\\\/'}", "{'|:''\\/|}"},
    {"{'a':'\\b\\f\\n\\r\\t'}", "{'a|:'\b\f\n\r\t|}"},
    {"{'a':'\\u0041\\u00e9\\u20AC\\uD83D\\uDE00'}",
     "{'a|:'A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80|}"},
    {"{'a':'\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f'}",
     "{'a|:'\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f|}"},
    {"{'a':[true,false,null]}", "{'a|:[true,false,null]}"},
    {"{'a':[0,-0,1.5e+3,2E-7,0.25,9223372036854775807,-9223372036854775808]}",
     "{'a|:[0,-0,1.5e+3,2E-7,0.25,9223372036854775807,-9223372036854775808]}"},
};

START_TEST(text_is_tightened)
{
    const char *root;
    char *copy = read_text(texts[_i].text, NEUMETA_OK, &root);
    const char *tight = texts[_i].tight;
    for (size_t i = 0; tight[i] != '\0'; i++)
        ck_assert_int_eq(root[i], tight[i] == '|' ? '\0' : tight[i] == '\'' ? '"' : tight[i]);
    free(copy);
}
END_TEST

static const struct {
    const char *text, *message;
} refused[] = {
    {"", "text is not valid JSON at byte 0: a value was expected"},
    {"[]", "text is not a JSON object"},
    {"'a'", "text is not a JSON object"},
    {"{", "byte 1: a string was expected"},
    {"{'a'", "byte 4: ':' was expected"},
    {"{'a':", "byte 5: a value was expected"},
    {"{'a':1", "byte 6: ',' or '}' was expected"},
    {"{'a':[1", "byte 7: ',' or ']' was expected"},
    {"{'a':[1}", "byte 7: ',' or ']' was expected"},
    {"{'a':1]", "byte 6: ',' or '}' was expected"},
    {"{'a':1,}", "byte 7: a string was expected"},
    {"{'a':[1,]}", "byte 8: a value was expected"},
    {"{,}", "byte 1: a string was expected"},
    {"{'a' 1}", "':' was expected"},
    {"{a:1}", "a string was expected"},
    {"{1:1}", "a string was expected"},
    {"{}{}", "byte 2: the end was expected"},
    {"{'a':tru}", "a value was expected"},
    {"{'a':nullx}", "',' or '}' was expected"},
    {"{'a':01}", "',' or '}' was expected"},
    {"{'a':+1}", "a value was expected"},
    {"{'a':-}", "a value was expected"},
    {"{'a':.5}", "a value was expected"},
    {"{'a':1.}", "a value was expected"},
    {"{'a':1e}", "a value was expected"},
    {"{'a':1e+}", "a value was expected"},
    {"{'a':NaN}", "a value was expected"},
    {"{'a':9223372036854775808}", "a number that is too large or too long"},
    {"{'a':-9223372036854775809}", "a number that is too large or too long"},
    {"{'a':1e400}", "a number that is too large or too long"},
    {"{'a", "a string that does not end"},
    {"{'a\\", "an unknown escape"},
    {"{'a\\x'}", "an unknown escape"},
    {"{'\\u00'}", "a \\u without a character"},
    {"{'\\u00", "a \\u without a character"},
    {"{'\\u00g0'}", "a \\u without a character"},
    {"{'\\u0000'}", "a \\u without a character other than zero"},
    {"{'\\ud83d'}", "a \\u without a character"},
    {"{'\\ud83d\\u0041'}", "a \\u without a character"},
    {"{'\\ude00'}", "a \\u without a character"},
    {"{'\\ud83d\\uffff'}", "a \\u without a character"},
    {"{'\\ud83dab'}", "a \\u without a character"},
    {"{'\\ud83d", "a \\u without a character"},
    {"{'\n'}", "is not UTF-8 without control characters"},
    {"{'\xff'}", "is not UTF-8"},
    {"{'\xc3'}", "is not UTF-8"},
    {"{'\xc0\x80'}", "is not UTF-8"},
    {"{'\xe0\x9f\xbf'}", "is not UTF-8"},
    {"{'\xed\xa0\x80'}", "is not UTF-8"},
    {"{'\xf4\x90\x80\x80'}", "is not UTF-8"},
    {"{'\xf8\x88\x80\x80\x80'}", "is not UTF-8"},
    {"{'\xf0\x9f", "is not UTF-8"},
};

START_TEST(what_is_not_json_is_refused)
{
    const char *root;
    free(read_text(refused[_i].text, NEUMETA_ERR_FORMAT, &root));
    assert_message_contains(context, refused[_i].message);
}
END_TEST

START_TEST(a_zero_is_no_character)
{
    static const struct {
        const char text[8];
        size_t size;
        const char *message;
    } zeros[] = {
        {"{\0}", 3, "byte 1: a string was expected"},
        {"{'\0'}", 5, "byte 2: a string that does not end, or is not UTF-8 without control"},
        {"{'\\\0'}", 6, "byte 3: an unknown escape"},
        {"{'\\u\0", 8, "byte 5: a \\u without a character"},
        {"{}\0", 3, "byte 2: the end was expected"},
    };
    const char *root;
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++) {
        free(read_bytes(zeros[i].text, zeros[i].size, NEUMETA_ERR_FORMAT, &root));
        assert_message_contains(context, zeros[i].message);
    }
}
END_TEST

START_TEST(depth_and_length_have_limits)
{
    enum { LONG = 300 };
    char text[LONG + 16];
    const char *root;
    for (int depth = NMI_JSON_DEPTH; depth <= NMI_JSON_DEPTH + 1; depth++) {
        char *end = text + sprintf(text, "{'a':");
        for (int i = 0; i < 2 * (depth - 1); i++)
            *end++ = i < depth - 1 ? '[' : ']';
        strcpy(end, "}");
        free(read_text(text, depth > NMI_JSON_DEPTH ? NEUMETA_ERR_FORMAT : NEUMETA_OK, &root));
    }
    assert_message_contains(context, "too many lists and objects in one another");
    snprintf(text, sizeof text, "{'a':0.%0*d}", LONG, 1);
    free(read_text(text, NEUMETA_ERR_FORMAT, &root));
    assert_message_contains(context, "too long");
}
END_TEST

/* What is hashed must have the same digits whatever library prints the rest. */
START_TEST(reals_have_17_digits)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0.0"},
        {-0.0, "-0.0"},
        {3, "3.0"},
        {0.5, "0.5"},
        {1e15, "1000000000000000.0"},
        {1e22, "1e22"},
        {-2.5e-7, "-2.4999999999999999e-7"},
        {0.1, "0.10000000000000001"},
        {0.70710678118654757, "0.70710678118654757"},
        {1.7976931348623157e308, "1.7976931348623157e308"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *list = json_pack("[f, {s: i}]", cases[i].value, "\"", 7);
        char *text = NULL, expected[64];
        size_t size = 0;
        ck_assert_ptr_nonnull(list);
        assert_ok(context, nmi_json_print(context, list, &text, &size));
        snprintf(expected, sizeof expected, "[%s,{\"\\\"\":7}]", cases[i].text);
        ck_assert_str_eq(text, expected);
        ck_assert_uint_eq(size, strlen(text));
        nmi_free(context, text);
        json_decref(list);
    }
}
END_TEST

START_TEST(values_are_found_and_told_apart)
{
    const char *root;
    char *copy = read_text("{'i':-12,'r':0.5,'t':true,'f':false,'n':null,'s':'x','l':[1,[2,3],'}'],"
                           "'o':{'i':7},'i':3}",
                           NEUMETA_OK, &root);
    int64_t integer = 1;
    double real = 1;
    bool flag = true;
    ck_assert_uint_eq(nmi_json_count(root), 9);
    ck_assert(nmi_json_integer(nmi_json_get(root, "i"), &integer) && integer == -12);
    ck_assert(nmi_json_number(nmi_json_get(root, "i"), &real) && real < -11.5);
    ck_assert(!nmi_json_integer(nmi_json_get(root, "r"), &integer) && integer == 0);
    ck_assert(nmi_json_number(nmi_json_get(root, "r"), &real) && real > 0.4 && real < 0.6);
    ck_assert(!nmi_json_number(nmi_json_get(root, "s"), &real) && !nmi_json_number(NULL, &real));
    ck_assert(nmi_json_boolean(nmi_json_get(root, "t"), &flag) && flag);
    ck_assert(nmi_json_boolean(nmi_json_get(root, "f"), &flag) && !flag);
    ck_assert(!nmi_json_boolean(nmi_json_get(root, "n"), &flag));
    ck_assert(!nmi_json_boolean(NULL, &flag) && !flag);
    ck_assert_str_eq(nmi_json_string(nmi_json_get(root, "s")), "x");
    ck_assert_ptr_null(nmi_json_string(nmi_json_get(root, "l")));
    ck_assert_ptr_null(nmi_json_string(nmi_json_get(root, "absent")));
    ck_assert(nmi_json_is_object(nmi_json_get(root, "o")) && !nmi_json_is_list(root));
    ck_assert(nmi_json_is_list(nmi_json_get(root, "l")) && !nmi_json_is_object(NULL));
    ck_assert_uint_eq(nmi_json_count(nmi_json_get(root, "l")), 3);
    ck_assert_uint_eq(nmi_json_count(nmi_json_get(root, "s")), 0);
    ck_assert_ptr_null(nmi_json_get(nmi_json_get(root, "l"), "i"));
    free(copy);
}
END_TEST

START_TEST(a_walk_meets_every_item)
{
    const char *root, *twice;
    char *copy = read_text("{'a':[[],{},'',0],'b':{'c':1,'d':2,'c':3}}", NEUMETA_OK, &root);
    nmi_json_walk walk = nmi_json_open(root);
    ck_assert(nmi_json_next(&walk));
    ck_assert_str_eq(walk.name, "a");
    nmi_json_walk list = nmi_json_open(walk.value);
    for (const char *first = "[{\"0"; *first != '\0'; first++) {
        ck_assert(nmi_json_next(&list));
        ck_assert_ptr_null(list.name);
        ck_assert_int_eq(*list.value, *first);
    }
    ck_assert(!nmi_json_next(&list));
    assert_ok(context, nmi_json_repeated(context, root, &twice));
    ck_assert_ptr_null(twice);
    ck_assert(nmi_json_next(&walk));
    ck_assert_str_eq(walk.name, "b");
    assert_ok(context, nmi_json_repeated(context, walk.value, &twice));
    ck_assert_str_eq(twice, "c");
    ck_assert(!nmi_json_next(&walk) && !nmi_json_next(&walk));
    free(copy);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *reading = tcase_create("reading");
    tcase_add_checked_fixture(reading, set_up, tear_down);
    tcase_add_loop_test(reading, text_is_tightened, 0, sizeof texts / sizeof *texts);
    tcase_add_loop_test(reading, what_is_not_json_is_refused, 0, sizeof refused / sizeof *refused);
    tcase_add_test(reading, a_zero_is_no_character);
    tcase_add_test(reading, depth_and_length_have_limits);
    tcase_add_test(reading, reals_have_17_digits);
    tcase_add_test(reading, values_are_found_and_told_apart);
    tcase_add_test(reading, a_walk_meets_every_item);
    suite_add_tcase(suite, reading);
    return test_main(suite);
}
