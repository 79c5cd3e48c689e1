/* SPDX-License-Identifier: MIT */
/* Sentences for the caller: the message of the last failure, and the log. */
#include "nmi_context.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#undef nmi_fail /* the analyzer's */

/* What a file or a path says may stand in a sentence, but not command a terminal: control
 * characters become question marks, those of two bytes in UTF-8, U+0080 to U+009F, too. */
static void disarm(char *sentence)
{
    for (unsigned char *c = (unsigned char *)sentence; *c != '\0'; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
        else if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
            c[0] = c[1] = '?';
}

neumeta_status nmi_fail(nmi_context *context, neumeta_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(context->message, sizeof context->message, format, arguments);
    va_end(arguments);
    if (length < 0)
        context->message[0] = '\0';
    disarm(context->message);
    return status;
}

neumeta_status nmi_fail_within(nmi_context *context, neumeta_status status, const char *format, ...)
{
    static const char separator[] = ": ";
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    size_t shift = length < 0 ? 0 : (size_t)length + sizeof separator - 1;
    /* A prefix that would leave nothing of the message is dropped: the message matters more. */
    if (length > 0 && shift < sizeof context->message / 2) {
        size_t kept = strlen(context->message);
        if (kept > sizeof context->message - 1 - shift)
            kept = sizeof context->message - 1 - shift;
        memmove(context->message + shift, context->message, kept);
        context->message[shift + kept] = '\0';
        vsnprintf(context->message, (size_t)length + 1, format, again);
        memcpy(context->message + length, separator, sizeof separator - 1);
    }
    va_end(again);
    va_end(arguments);
    disarm(context->message);
    return status;
}

void nmi_log(nmi_context *context, int32_t level, const char *format, ...)
{
    if (context->log == NULL || level > context->log_level)
        return;
    char line[NMI_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    disarm(line);
    context->log(context->log_user, level, line);
}
