#include "convert.h"

int fahrenheit(int celsius)
{
    return celsius * 9 / 5 + 32;
}
